package store

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// stamp is the payload of the stamp file. Its format number is what future
// agents change; the encoding around it stays as it is, so that every agent can
// read the number.
type stamp struct {
	Format int    `json:"format"`
	ID     string `json:"id"`
}

// readStamp returns "" for a directory that has none yet.
func (s *Store) readStamp() (string, error) {
	data, err := readEncoded(s.path("stamp"), kindStamp)
	if err != nil {
		// Written twice at creation, so one rotten sector does not take the
		// agent down.
		if again, prevErr := readEncoded(s.path("stamp.prev"), kindStamp); prevErr == nil {
			data, err = again, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("stamp of the state directory: %w: restore the directory, or move it away to begin anew", err)
	}
	var st stamp
	if err := json.Unmarshal(data, &st); err != nil {
		return "", fmt.Errorf("stamp of the state directory: %w", err)
	}
	if st.Format > Format {
		return "", fmt.Errorf("%s: %w: it has format %d, this agent knows up to %d; start the newer agent", s.dir, ErrFutureFormat, st.Format, Format)
	}
	return st.ID, nil
}

func (s *Store) writeStamp() (string, error) {
	var id [16]byte
	rand.Read(id[:])
	st := stamp{Format: Format, ID: hex.EncodeToString(id[:])}
	data, err := json.Marshal(st)
	if err != nil {
		return "", err
	}
	for range 2 {
		if err := s.replace(s.path("stamp"), s.path("stamp.prev"), encode(kindStamp, data)); err != nil {
			return "", fmt.Errorf("stamp of the state directory: %w", err)
		}
	}
	return st.ID, nil
}
