package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Record is what the agent remembers about one service.
type Record struct {
	Name string
	Data []byte
	// Previous is set when a later version was there and is damaged.
	Previous bool
}

// Quarantined is a copy of a record that was found damaged and moved aside.
type Quarantined struct {
	Name string
	// Path is where it lies now.
	Path string
	// Reason says what is wrong with it.
	Reason error
	// Recovered says that another copy is good and is used: the version before, or
	// the latest if it was the write of this one that was cut off.
	Recovered bool
}

// WriteRecord writes the record of a service: an agent that comes after this one,
// however it ended, finds it. Only SyncRecord makes it survive a power cut; until
// then the last one that does is kept as well. On an error (ErrDiskFull for want of
// space) the former record stays.
func (s *Store) WriteRecord(name string, data []byte) error {
	if err := service.CheckName(name); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer s.names.lock(name)()
	c, err := s.copiesOf(name)
	if err != nil {
		return fmt.Errorf("record of service %s: %w", name, err)
	}
	next, version := c.next(), c.held[c.latest()].version+1
	c.held[next] = heldCopy{}
	path := s.copyPath(name, next)
	if err := s.withReserve(func() error { return writeCopy(path, encodeCopy(version, data)) }); err != nil {
		_ = os.Truncate(path, 0) // a half of it is nothing to report later
		return fmt.Errorf("record of service %s not saved, the former one stays: %w", name, err)
	}
	c.held[next].version = version
	return nil
}

// SyncRecord returns nil once the record as it was when this was called, or a
// later one, survives a power cut. WriteRecord does not wait for it. After an
// error the record must be written again: the kernel forgets what it could not
// write.
func (s *Store) SyncRecord(name string) error {
	for {
		i, was := s.unsynced(name)
		if was.version == 0 {
			return nil
		}
		err := syncData(s.copyPath(name, i))
		if err == nil && !was.named {
			err = syncDir(s.path("records"))
		}
		if err != nil {
			return fmt.Errorf("record of service %s may not survive a power cut: %w", name, err)
		}
		if s.markSynced(name, i, was) {
			return nil
		}
	}
}

// unsynced is the latest copy, unless a power cut would leave it.
func (s *Store) unsynced(name string) (int, heldCopy) {
	defer s.names.lock(name)()
	c := s.knownCopies(name)
	if c == nil || c.held[c.latest()].version == c.synced {
		return 0, heldCopy{}
	}
	return c.latest(), c.held[c.latest()]
}

// markSynced says whether what was synced is still in that copy: two writes may
// have taken its place meanwhile.
func (s *Store) markSynced(name string, i int, was heldCopy) bool {
	defer s.names.lock(name)()
	c := s.knownCopies(name)
	if c == nil {
		return true // deleted
	}
	if c.held[i] != was {
		return false
	}
	c.held[i].named = true
	c.synced = max(c.synced, was.version)
	return true
}

// LoadRecords reads all records in the order of their names, and makes them
// durable. Damaged copies are moved to quarantine and reported; another copy takes
// their place when it is good.
func (s *Store) LoadRecords() ([]Record, []Quarantined, error) {
	names, err := s.recordNames()
	if err != nil {
		return nil, nil, err
	}
	var records []Record
	var bad []Quarantined
	for _, name := range names {
		r, q, err := s.loadRecord(name)
		if err != nil {
			return nil, nil, fmt.Errorf("record of service %s: %w", name, err)
		}
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
	// The latest last: an older one alone would count as the record.
	c, err := s.copiesOf(name)
	if err != nil {
		return fmt.Errorf("record of service %s: %w", name, err)
	}
	for _, i := range c.oldestFirst() {
		if err := os.Remove(s.copyPath(name, i)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("record of service %s: %w", name, err)
		}
	}
	s.forgetCopies(name)
	return syncDir(s.path("records"))
}

func (s *Store) recordNames() ([]string, error) {
	entries, err := os.ReadDir(s.path("records"))
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	var names []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext)
		if slices.Contains(copyExt[:], ext) && service.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (s *Store) loadRecord(name string) (*Record, []Quarantined, error) {
	defer s.names.lock(name)()
	found, err := s.readCopies(name)
	if err != nil {
		return nil, nil, err
	}
	latest := latestOf(found)
	var bad []Quarantined
	for _, f := range found {
		// What was overwritten since need not be whole.
		if f.err == nil || (f.version != 0 && latest != nil && f.version < latest.version) {
			continue
		}
		q := s.quarantine(name, s.copyPath(name, f.index), f.err)
		q.Recovered = latest != nil
		bad = append(bad, q)
	}
	if latest == nil {
		return nil, bad, nil
	}
	_, err = s.keepCopies(name, found)
	return &Record{Name: name, Data: latest.data, Previous: len(bad) > 0}, bad, err
}

// quarantine moves a file aside. When even that fails it stays, and a later write
// takes its place.
func (s *Store) quarantine(name, path string, reason error) Quarantined {
	to := s.path("quarantine", fmt.Sprintf("%s.%d", filepath.Base(path), time.Now().UnixNano()))
	if err := os.Rename(path, to); err != nil {
		return Quarantined{Name: name, Path: path, Reason: errors.Join(reason, err)}
	}
	return Quarantined{Name: name, Path: to, Reason: reason}
}
