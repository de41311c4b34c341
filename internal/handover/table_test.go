package handover

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListenFDs(t *testing.T) {
	got, err := Announce(ListenFDs, []string{"http", "admin"})
	if err != nil {
		t.Fatal(err)
	}
	want := Announcement{Env: []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=http:admin"}, PIDEnv: []string{"LISTEN_PID"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNoSocketsAnnounceNothing(t *testing.T) {
	got, err := Announce(ListenFDs, nil)
	if err != nil || len(got.Env) != 0 || len(got.PIDEnv) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestUnknownDialect(t *testing.T) {
	if _, err := Announce("smoke-signals", nil); err == nil {
		t.Error("an unknown dialect was taken")
	}
}
