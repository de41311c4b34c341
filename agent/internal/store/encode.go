package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
)

// Kinds of encoded files.
const (
	kindStamp    = "stamp"
	kindArtifact = "artifact"
	kindUpload   = "upload"
)

const encodingVersion = 1

// errCorrupt means that an encoded file is not as it was written.
var errCorrupt = errors.New("corrupt")

// encode puts a header line before the payload:
//
//	gracefleet 1 KIND LENGTH SHA256
func encode(kind string, payload []byte) []byte {
	return append(header(kind, payload), payload...)
}

func header(kind string, payload []byte) []byte {
	return fmt.Appendf(nil, "gracefleet %d %s %d %x\n", encodingVersion, kind, len(payload), sha256.Sum256(payload))
}

// decode returns the payload. Only what encode wrote is accepted:
// the header is derived from the payload again and compared.
func decode(kind string, data []byte) ([]byte, error) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return nil, fmt.Errorf("%w: no header line in %d bytes", errCorrupt, len(data))
	}
	payload := data[i+1:]
	if want := header(kind, payload); !bytes.Equal(data[:i+1], want) {
		return nil, fmt.Errorf("%w: header %q does not fit the %d bytes after it", errCorrupt, clip(data[:i], 120), len(payload))
	}
	return payload, nil
}

func readEncoded(path, kind string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	payload, err := decode(kind, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return payload, nil
}

func clip(b []byte, n int) []byte {
	return b[:min(len(b), n)]
}
