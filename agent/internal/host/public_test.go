package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// A link in place of the agent's directory beside a socket would have it remove and
// create files elsewhere.
func TestPlantedBesideASocket(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	p := pathsOf(service.Socket{Name: "http", Address: service.Address{Network: service.Unix, Path: filepath.Join(dir, "web.sock")}}, 3)
	victim := filepath.Join(elsewhere, filepath.Base(p.private))
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Dir(p.private)); err != nil {
		t.Fatal(err)
	}
	if err := p.prepare(); err == nil || !strings.Contains(err.Error(), "not a directory of the agent's") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(victim); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Dir(p.private)); err != nil {
		t.Fatal(err)
	}
	if err := p.prepare(); err != nil {
		t.Error(err)
	}
}
