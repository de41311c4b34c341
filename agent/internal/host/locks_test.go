package host

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExclusiveLocks(t *testing.T) {
	const table = `1: FLOCK  ADVISORY  WRITE 812 fe:00:10602783 0 EOF
1: -> FLOCK  ADVISORY  WRITE 813 fe:00:10602783 0 EOF
2: POSIX  ADVISORY  READ  814 00:19:77 0 EOF
3: POSIX  ADVISORY  WRITE 815 00:19:78 128 128
4: OFDLCK ADVISORY  WRITE -1 fe:00:9 0 EOF
5: LEASE  ACTIVE    WRITE 816 nonsense 0 EOF
6: FLOCK

`
	got := exclusiveLocks(table)
	want := []fileLock{{812, 0xfe, 0, 10602783}, {815, 0, 0x19, 78}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLockedPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range exclusiveLocks(string(table)) {
		if l.pid == os.Getpid() && lockedPath(l) == path {
			return
		}
	}
	t.Errorf("%s is not found in\n%s", path, table)
}
