package fetch

import "errors"

// What callers branch on with errors.Is, besides the errors of package store; each
// is wrapped in a sentence that names the URL without its query.
var (
	// ErrRefused means that the host's graced.yaml does not let it fetch that.
	ErrRefused = errors.New("not allowed on this host")
	// ErrNotThere means that the server has no such file.
	ErrNotThere = errors.New("not there")
	// ErrUnusable means that the same fetch will fail again until somebody acts.
	ErrUnusable = errors.New("cannot be fetched")
	// ErrPassing means that the same fetch may succeed later.
	ErrPassing = errors.New("not answered as it should be")
)
