package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
)

// privateDir lies beside public paths, on their filesystem: link(2) needs that.
const privateDir = ".gracefleet"

// pathPair is where a slot's unix socket is bound, and a second name for it: a
// program that unlinks the first leaves the second.
type pathPair struct {
	public, private, kept string
}

func pathsOf(s service.Socket, slot int) pathPair {
	base := filepath.Join(filepath.Dir(s.Address.Path), privateDir, s.Name+"."+strconv.Itoa(slot))
	return pathPair{public: s.Address.Path, private: base, kept: base + ".k"}
}

// prepare makes room for the socket; what a dead slot left is removed.
func (p pathPair) prepare() error {
	if n := len(p.kept); n > 107 {
		return fmt.Errorf("unix path %s: its private name has %d bytes, the kernel takes at most 107: choose a shorter one", p.public, n)
	}
	if err := os.MkdirAll(filepath.Dir(p.private), 0o711); err != nil {
		return fmt.Errorf("unix path %s: %w", p.public, err)
	}
	// Whoever the directory above belongs to may have been there first.
	info, err := os.Lstat(filepath.Dir(p.private))
	if err == nil && (!info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid()) {
		err = fmt.Errorf("%s is not a directory of the agent's: remove it", filepath.Dir(p.private))
	}
	if err != nil {
		return fmt.Errorf("unix path %s: %w", p.public, err)
	}
	for _, old := range []string{p.private, p.kept} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unix path %s: %w", p.public, err)
		}
	}
	return nil
}

// keep gives the bound socket its second name.
func (p pathPair) keep() error {
	if err := os.Link(p.private, p.kept); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("unix path %s: %w", p.public, err)
	}
	return nil
}

// remove takes the names away, the public one too where it leads here.
func (p pathPair) remove() {
	if socket.Published(p.kept, p.public) {
		os.Remove(p.public)
	}
	os.Remove(p.private)
	os.Remove(p.kept)
	os.Remove(filepath.Dir(p.private)) // fails while another slot is in it
}

func (s *slot) pairFor(public string) (pathPair, bool) {
	for _, p := range s.paths {
		if p.public == public {
			return p, true
		}
	}
	return pathPair{}, false
}

// publishedAt says whether the public path leads to this slot.
func (s *slot) publishedAt(a service.Address) bool {
	p, ok := s.pairFor(a.Path)
	return ok && socket.Published(p.kept, p.public)
}
