package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Freeze is a stop of all upgrades on the host.
type Freeze struct {
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// frozenError is ErrFrozen with who said so.
type frozenError struct{ Freeze }

func (e *frozenError) Error() string {
	return fmt.Sprintf("%v: by %s, since %s: %s: gracectl unfreeze allows them again; rollbacks are possible", ErrFrozen, e.Actor, e.Since.Format(time.RFC3339), e.Reason)
}

func (e *frozenError) Unwrap() error { return ErrFrozen }

// Metadata is who said so, for programs.
func (e *frozenError) Metadata() map[string]string {
	return map[string]string{"actor": e.Actor, "reason": e.Reason, "time": e.Since.Format(time.RFC3339)}
}

// Frozen is the stop of all upgrades that holds now, or nil. It is not changed.
func (s *Supervisor) Frozen() *Freeze { return s.frozen.Load() }

// thawed refuses upgrades while they are stopped.
func (s *Supervisor) thawed() error {
	if f := s.frozen.Load(); f != nil {
		return &frozenError{*f}
	}
	return nil
}

// Freeze stops all upgrades, durably. Where they are stopped already, that stands.
func (s *Supervisor) Freeze(by Caller) (Freeze, error) {
	s.freezing.Lock()
	defer s.freezing.Unlock()
	if f := s.frozen.Load(); f != nil {
		return *f, nil
	}
	f := Freeze{Actor: by.Actor, Reason: by.Comment, Since: time.Now().UTC()}
	data, err := json.Marshal(f)
	if err == nil {
		err = s.records.WriteFreeze(data)
	}
	if err != nil {
		return Freeze{}, err
	}
	s.frozen.Store(&f)
	s.log.Warn("all upgrades are stopped", "actor", f.Actor, "reason", f.Reason)
	return f, nil
}

// Unfreeze allows upgrades again, and says what had stopped them; nil when nothing had.
func (s *Supervisor) Unfreeze(by Caller) (*Freeze, error) {
	s.freezing.Lock()
	defer s.freezing.Unlock()
	if err := s.records.WriteFreeze(nil); err != nil {
		return nil, err
	}
	was := s.frozen.Swap(nil)
	if was != nil {
		s.log.Info("upgrades are allowed again", "actor", by.Actor, "reason", by.Comment)
	}
	return was, nil
}

// restoreFreeze finds the stop of before. What cannot be read is one.
func (s *Supervisor) restoreFreeze() error {
	data, err := s.records.ReadFreeze()
	if err == nil && len(data) == 0 {
		return nil
	}
	f := Freeze{}
	if err = errors.Join(err, json.Unmarshal(data, &f)); err != nil {
		err = fmt.Errorf("the stop of all upgrades cannot be read, and holds: %w", err)
		f = Freeze{Actor: "graced", Reason: err.Error(), Since: time.Now().UTC()}
	}
	s.frozen.Store(&f)
	return err
}
