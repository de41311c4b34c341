package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/trust"
)

// Format is the version of the directory's layout that this agent writes. A
// directory of a higher one is refused.
const Format = 1

// Defaults of Options.
const (
	DefaultUploadLimit = 1 << 30
	DefaultReserve     = 4 << 20
	DefaultLogCap      = 64 << 20
	DefaultQuota       = 20 << 30
)

// Options of a Store; the zero value means the defaults.
type Options struct {
	// UploadLimit is the size in bytes above which an artifact is refused.
	UploadLimit int64
	// Reserve is how many bytes are kept for state writes on a full disk;
	// negative keeps none.
	Reserve int64
	// Quota is how many bytes artifacts may take, unfinished uploads among them;
	// negative means that the disk is the limit.
	Quota int64
	// KeepFree is how many bytes of the file system an upload has to leave free, by
	// default a twentieth of it and at most 1 GiB; negative means none.
	KeepFree int64
	// LogCap is how many bytes the logs of one service may take.
	LogCap int64
	// OnRotate, when set, is told of every rotation. It is called from the
	// store's own goroutine
	// and must neither block nor call the store.
	OnRotate func(Rotation)
}

// Store is an open state directory. Its methods are safe for concurrent use.
type Store struct {
	dir     string
	id      string
	boot    string
	options Options
	lock    *os.File
	reserve *reserve
	names   keyed

	admission sync.Mutex // of uploads, from finding room to claiming it

	mu      sync.Mutex
	uploads map[string]bool       // digests with an open Upload
	hosts   map[string]hostDigest // by path
	records map[string]*copies    // by service

	logs *logs
}

// Open creates or opens the state directory and takes its lock until Close or
// the end of the process. It fails with ErrLocked when another agent has it
// and with ErrFutureFormat when a newer agent wrote it. Corrupt records do not
// fail it: LoadRecords reports them.
func Open(dir string, o Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := createDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir:     dir,
		options: withDefaults(o),
		lock:    lock,
		uploads: map[string]bool{},
		hosts:   map[string]hostDigest{},
		records: map[string]*copies{},
	}
	if err := s.load(); err != nil {
		lock.Close()
		return nil, err
	}
	return s, nil
}

func withDefaults(o Options) Options {
	if o.UploadLimit == 0 {
		o.UploadLimit = DefaultUploadLimit
	}
	if o.Reserve == 0 {
		o.Reserve = DefaultReserve
	}
	if o.Quota == 0 {
		o.Quota = DefaultQuota
	}
	if o.LogCap == 0 {
		o.LogCap = DefaultLogCap
	}
	return o
}

// load does what needs the lock: stamp first, so that a directory of another
// format is left as it was found.
func (s *Store) load() (err error) {
	if s.boot, err = bootID(); err != nil {
		return err
	}
	s.reserve = &reserve{path: s.path("reserve"), size: s.options.Reserve}
	if s.id, err = s.readStamp(); err != nil {
		return err
	}
	if err := s.layout(); err != nil {
		return err
	}
	if s.id == "" {
		if s.id, err = s.writeStamp(); err != nil {
			return err
		}
	}
	s.sweep()
	s.reserve.restore()
	s.logs, err = openLogs(s.path("logs"), s.options)
	return err
}

// Close gives the directory up. Uploads must have been closed and tails ended.
func (s *Store) Close() error {
	return errors.Join(s.logs.close(), s.lock.Close())
}

// ID is the random id stamped into the directory when it was created: 32 hex
// digits.
func (s *Store) ID() string { return s.id }

// Dir is the directory's absolute path.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// createDir makes the directory, or checks that nobody but the agent's user
// could have put anything into an existing one.
func createDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("state directory %s: %w", dir, err)
	}
	err := os.Mkdir(dir, 0o711)
	if err == nil {
		err = os.Chmod(dir, 0o711) // whatever the umask took
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("state directory: %w", err)
	}
	if err := trust.Dir(dir); err != nil {
		return fmt.Errorf("state directory %w", err)
	}
	return nil
}

// takeLock locks the directory for this process. The lock belongs to the open
// file, so the kernel drops it with the process, however that ends (flock(2)).
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the state directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for deadline := time.Now().Add(orphanLimit); errors.Is(err, unix.EWOULDBLOCK) && orphaned(f) && time.Now().Before(deadline); {
		time.Sleep(orphanPause)
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		return nil, &LockedError{Dir: dir, PID: readPID(f)}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("flock %s: %w", f.Name(), err)
	}
	// The pid is for people; on a full disk the lock works without it.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	return f, nil
}

// A child of an agent that was killed has the lock from fork to exec.
const (
	orphanLimit = time.Second
	orphanPause = 2 * time.Millisecond
)

// orphaned says whether the process that took a lock is gone.
func orphaned(f *os.File) bool {
	pid := readPID(f)
	return pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

func readPID(f *os.File) int {
	var buf [16]byte
	n, _ := f.ReadAt(buf[:], 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	return pid
}

// layout creates what is missing below the directory.
func (s *Store) layout() error {
	for name, mode := range map[string]os.FileMode{
		"records": 0o700, "quarantine": 0o700, "uploads": 0o700, "logs": 0o700, "rollouts": 0o700, "artifacts": 0o711,
	} {
		if err := ownDir(s.path(name), mode); err != nil {
			return fmt.Errorf("state directory: %w", diskFull(err))
		}
	}
	return syncDir(s.dir)
}

// ownDir creates a directory, unless it is there. A link in its place would have the
// agent write elsewhere.
func ownDir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is %s where a directory was: look who put it there, and remove it", path, kindOfFile(info.Mode()))
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// sweep removes what an agent that was killed left half done. What cannot be
// removed now does no harm.
func (s *Store) sweep() {
	for _, pattern := range []string{".*.tmp", "records/.*.tmp", "rollouts/.*.tmp", "artifacts/.gone-*", "artifacts/*/.*.tmp"} {
		found, _ := filepath.Glob(s.path(pattern))
		for _, p := range found {
			_ = os.RemoveAll(p)
		}
	}
	s.collectUploads()
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
