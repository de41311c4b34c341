package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultIdle is how long a shim without an agent and without a program stays.
const DefaultIdle = 10 * time.Second

// maxPath is sockaddr_un's sun_path less its final NUL (unix(7)).
const maxPath = 107

// Intent is what a shim is for. It is on disk before the shim runs, so that an
// agent which dies in between finds either nothing or something it can explain.
type Intent struct {
	Version    int    `json:"version"`
	StateID    string `json:"state_id"`
	Service    string `json:"service"`
	Slot       int    `json:"slot"`
	Generation int    `json:"generation"`
	// Directory holds the shim's files; one per shim, absolute.
	Directory string `json:"directory"`
	// SlotCgroup is where the shim lives and creates sockets; empty without
	// cgroup v2.
	SlotCgroup string `json:"slot_cgroup,omitempty"`
	// Stage asks for the first program's exec stage ahead: it is up by the time it
	// gets its orders. One that does not fit the program is replaced.
	Stage *StageIntent `json:"stage,omitempty"`
	// Idle limit; 0 means DefaultIdle.
	Idle time.Duration `json:"idle,omitempty"`
}

// StageIntent is what is known of a program before it is ordered.
type StageIntent struct {
	Cgroup      string `json:"cgroup,omitempty"`
	Descriptors int    `json:"descriptors"` // after its standard ones
}

// ControlPath is where the shim of a directory takes commands.
func ControlPath(dir string) string { return filepath.Join(dir, "c") }

// NotifyPath is the NOTIFY_SOCKET of the shim of a directory.
func NotifyPath(dir string) string { return filepath.Join(dir, "n") }

// AckPath is where programs that the shim was told to expect it of acknowledge.
func AckPath(dir string) string { return filepath.Join(dir, "a") }

func intentPath(dir string) string { return filepath.Join(dir, "intent") }

// logPath takes what the shim itself has to say.
func logPath(dir string) string { return filepath.Join(dir, "shim.log") }

// CheckDir says whether a shim can live in a directory.
func CheckDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("shim directory %q is not absolute", dir)
	}
	if n := len(NotifyPath(dir)); n > maxPath {
		return fmt.Errorf("shim directory %s: its socket paths have %d bytes, the kernel takes at most %d: use a shorter runtime directory", dir, n, maxPath)
	}
	return nil
}

// ReadIntent reads the intent of a shim's directory.
func ReadIntent(dir string) (Intent, error) {
	b, err := os.ReadFile(intentPath(dir))
	if err != nil {
		return Intent{}, fmt.Errorf("read a shim's intent: %w", err)
	}
	var in Intent
	if err := json.Unmarshal(b, &in); err != nil {
		return Intent{}, fmt.Errorf("read a shim's intent %s: %w", intentPath(dir), err)
	}
	return in, nil
}

// write puts the intent in its directory, all or nothing. The directory is made
// traversable: the program's user must reach the notify socket in it.
func (in Intent) write() error {
	if err := os.MkdirAll(in.Directory, 0o711); err != nil {
		return fmt.Errorf("create a shim's directory: %w", err)
	}
	if err := os.Chmod(in.Directory, 0o711); err != nil {
		return fmt.Errorf("open a shim's directory to its program: %w", err)
	}
	b, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("write a shim's intent: %w", err)
	}
	tmp := intentPath(in.Directory) + ".tmp"
	fd, err := unix.Open(tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("write a shim's intent %s: %w", tmp, err)
	}
	f := os.NewFile(uintptr(fd), tmp)
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, intentPath(in.Directory))
	}
	if err != nil {
		return fmt.Errorf("write a shim's intent: %w", err)
	}
	return nil
}
