package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Record is what the agent remembers about one service.
type Record struct {
	Name string
	Data []byte
	// Previous is set when the last version was lost and this is the one
	// before it.
	Previous bool
}

// Quarantined is a record that was found corrupt and moved aside.
type Quarantined struct {
	Name string
	// Path is where it lies now.
	Path string
	// Reason says what is wrong with it.
	Reason error
	// Recovered says that the version before it was good and is used.
	Recovered bool
}

// Kinds of encoded files.
const (
	kindService  = "service"
	kindStamp    = "stamp"
	kindArtifact = "artifact"
	kindUpload   = "upload"
)

const (
	recordVersion = 1
	recordExt     = ".record"
	prevExt       = ".prev"
)

// SaveRecord stores the record of a service; once it has returned nil, the
// record survives a power cut. On an error (ErrDiskFull for want of space) the
// former record stays. Saves of different services do not wait for each other.
func (s *Store) SaveRecord(name string, data []byte) error {
	if err := service.CheckName(name); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer s.names.lock(name)()
	path := s.recordPath(name, recordExt)
	if err := s.replace(path, s.recordPath(name, prevExt), encodeRecord(kindService, data)); err != nil {
		return fmt.Errorf("record of service %s not saved, the former one stays: %w", name, err)
	}
	return nil
}

// LoadRecords reads all records in the order of their names. Corrupt ones are
// moved to quarantine and reported; the version before takes their place when
// it is good.
func (s *Store) LoadRecords() ([]Record, []Quarantined, error) {
	names, err := s.recordNames()
	if err != nil {
		return nil, nil, err
	}
	var records []Record
	var bad []Quarantined
	for _, name := range names {
		r, q := s.loadRecord(name)
		if r != nil {
			records = append(records, *r)
		}
		bad = append(bad, q...)
	}
	return records, bad, nil
}

// DeleteRecord forgets a service, durably. No record is no error.
func (s *Store) DeleteRecord(name string) error {
	if err := service.CheckName(name); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer s.names.lock(name)()
	// The older one first: alone it would count as the record.
	for _, ext := range []string{prevExt, recordExt} {
		if err := os.Remove(s.recordPath(name, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record of service %s: %w", name, err)
		}
	}
	return syncDir(s.path("records"))
}

func (s *Store) recordPath(name, ext string) string {
	return s.path("records", name+ext)
}

func (s *Store) recordNames() ([]string, error) {
	entries, err := os.ReadDir(s.path("records"))
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	seen := map[string]bool{}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext)
		if (ext == recordExt || ext == prevExt) && service.CheckName(name) == nil {
			seen[name] = true
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func (s *Store) loadRecord(name string) (*Record, []Quarantined) {
	defer s.names.lock(name)()
	var bad []Quarantined
	for _, ext := range []string{recordExt, prevExt} {
		path := s.recordPath(name, ext)
		data, err := readRecord(path, kindService)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a crash between the two renames: prev is the record
		}
		if err != nil {
			bad = append(bad, s.quarantine(name, path, err))
			continue
		}
		for i := range bad {
			bad[i].Recovered = true
		}
		return &Record{Name: name, Data: data, Previous: len(bad) > 0}, bad
	}
	return nil, bad
}

// quarantine moves a file aside. When even that fails it stays, and the next
// save replaces it.
func (s *Store) quarantine(name, path string, reason error) Quarantined {
	to := s.path("quarantine", fmt.Sprintf("%s.%d", filepath.Base(path), time.Now().UnixNano()))
	if err := os.Rename(path, to); err != nil {
		return Quarantined{Name: name, Path: path, Reason: errors.Join(reason, err)}
	}
	return Quarantined{Name: name, Path: to, Reason: reason}
}

// errCorrupt means that an encoded file is not as it was written.
var errCorrupt = errors.New("corrupt")

// encodeRecord puts a header line before the payload:
//
//	gracefleet 1 KIND LENGTH SHA256
func encodeRecord(kind string, payload []byte) []byte {
	return append(recordHeader(kind, payload), payload...)
}

func recordHeader(kind string, payload []byte) []byte {
	return fmt.Appendf(nil, "gracefleet %d %s %d %x\n", recordVersion, kind, len(payload), sha256.Sum256(payload))
}

// decodeRecord returns the payload. Only what encodeRecord wrote is accepted:
// the header is derived from the payload again and compared.
func decodeRecord(kind string, data []byte) ([]byte, error) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return nil, fmt.Errorf("%w: no header line in %d bytes", errCorrupt, len(data))
	}
	payload := data[i+1:]
	if want := recordHeader(kind, payload); !bytes.Equal(data[:i+1], want) {
		return nil, fmt.Errorf("%w: header %q does not fit the %d bytes after it", errCorrupt, clip(data[:i], 120), len(payload))
	}
	return payload, nil
}

func readRecord(path, kind string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	payload, err := decodeRecord(kind, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return payload, nil
}

func clip(b []byte, n int) []byte {
	return b[:min(len(b), n)]
}
