package delta

import (
	"crypto/sha256"
	"io"
)

// ProofSize is that of a proof, in bytes.
const ProofSize = sha256.Size

// Proof shows that its maker has the bytes of an artifact, and not only its digest.
// Who could name any base, and see whether a guess at what follows from it is right, could
// read what others have stored, byte by byte.
func Proof(digest string, artifact io.Reader) ([]byte, error) {
	h := sha256.New()
	_, _ = io.WriteString(h, "gracefleet delta base "+digest+"\n")
	if _, err := io.CopyBuffer(h, onlyReader{artifact}, make([]byte, 256<<10)); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// onlyReader hides os.File's WriteTo, which would ignore the buffer.
type onlyReader struct{ io.Reader }
