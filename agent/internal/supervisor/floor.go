package supervisor

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// floor is what a deleted service has left to one that is created under its name: else
// whoever may do both could bring back any release.
func (s *Supervisor) floor(name string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.floors[name]
}

func (s *Supervisor) keepFloor(name string, floor int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floors[name] = floor
}

// forget leaves nothing of a service on disk but its floor, durably.
func (s *Supervisor) forget(name string, floor int64) error {
	if floor == 0 {
		return s.records.DeleteRecord(name)
	}
	data, err := json.Marshal(record{Format: recordFormat, Name: name, Floor: floor, Deleted: true})
	if err != nil {
		return fmt.Errorf("encode the service's record: %w", err)
	}
	if err := s.records.WriteRecord(name, data); err != nil {
		return err
	}
	s.keepFloor(name, floor)
	return s.records.SyncRecord(name)
}

// belowFloor is ErrReleaseBelowFloor with its numbers.
type belowFloor struct {
	service        string
	release, floor int64
}

func (e *belowFloor) Error() string {
	return fmt.Sprintf("%v: service %q, release %d, and %d was: sign a higher one, or go back with gracectl rollback %s; --break-glass takes it all the same",
		ErrReleaseBelowFloor, e.service, e.release, e.floor, e.service)
}

func (e *belowFloor) Unwrap() error { return ErrReleaseBelowFloor }

// Metadata is the numbers, for programs.
func (e *belowFloor) Metadata() map[string]string {
	return map[string]string{"release": strconv.FormatInt(e.release, 10), "floor": strconv.FormatInt(e.floor, 10)}
}
