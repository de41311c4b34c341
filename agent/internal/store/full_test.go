package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// onTmpfs runs a role of this binary with a small file system of its own
// mounted on its argument, which no other process sees.
func onTmpfs(t *testing.T, role string) {
	t.Helper()
	dir := t.TempDir()
	cmd := child(role, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	needs.That(t, err == nil || errors.As(err, &exit), fmt.Sprintf("a mount namespace: %v", err))
	needs.That(t, !strings.HasPrefix(string(out), "no mount"), string(out))
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	t.Logf("%s", out)
}

func mountSmall(dir, options string) error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, options)
	}
	if err != nil {
		fmt.Println("no mount:", err)
	}
	return err
}

func TestDiskFull(t *testing.T) { onTmpfs(t, "fill") }

// roleFill tries each write with every amount of space from none to enough, in
// bytes and in files: it works or it says that the disk is full, and what was
// there before is there after.
func roleFill(dir string) error {
	if err := mountSmall(dir, "size=1m,nr_inodes=64"); err != nil {
		return err
	}
	s, err := Open(filepath.Join(dir, "state"), Options{Reserve: -1})
	if err != nil {
		return err
	}
	defer s.Close()
	for name, try := range map[string]func(*Store, int) error{"save": trySave, "upload": tryUpload, "log": tryLog} {
		refused, done := 0, 0
		for pages := range 30 {
			for _, files := range []int{0, 1, 2, 3, 5, 20} {
				free, err := fill(dir, int64(pages)*4096, files)
				if err != nil {
					return err
				}
				err = try(s, pages*100+files)
				free()
				switch {
				case err == nil:
					done++
				case errors.Is(err, ErrDiskFull):
					refused++
				default:
					return fmt.Errorf("%s with %d pages and %d files free: %w", name, pages, files, err)
				}
			}
		}
		if refused < 10 || done < 10 {
			return fmt.Errorf("%s: refused %d, done %d", name, refused, done)
		}
		fmt.Printf("%s: %d refused, %d done\n", name, refused, done)
	}
	return fillReserve(filepath.Join(dir, "reserved"))
}

// fill leaves so many bytes and files free until the returned func is called.
func fill(dir string, bytes int64, files int) (free func(), err error) {
	var st unix.Statfs_t
	var made []string
	free = func() {
		for _, p := range made {
			_ = os.Remove(p)
		}
	}
	create := func() (*os.File, error) {
		p := filepath.Join(dir, fmt.Sprint("fill", len(made)))
		made = append(made, p)
		return os.Create(p)
	}
	f, err := create()
	if err != nil {
		return free, err
	}
	defer f.Close()
	if err := unix.Statfs(dir, &st); err != nil {
		return free, err
	}
	for range int(st.Ffree) - files {
		f, err := create()
		if err != nil {
			break
		}
		f.Close()
	}
	if err := unix.Statfs(dir, &st); err != nil {
		return free, err
	}
	if n := int64(st.Bavail)*st.Bsize - bytes; n > 0 {
		return free, unix.Fallocate(int(f.Fd()), 0, 0, n)
	}
	return free, nil
}

func trySave(s *Store, n int) error {
	before, _, err := s.LoadRecords()
	if err != nil {
		return err
	}
	data := bytes.Repeat(fmt.Appendf(nil, "%08d", n), 4<<10) // 8 pages
	saveErr := save(s, "web", data)
	after, bad, err := s.LoadRecords()
	if err != nil || len(bad) > 0 {
		return fmt.Errorf("quarantined %v, %w", bad, err)
	}
	want := []byte(nil)
	if saveErr == nil {
		want = data
	} else if len(before) > 0 {
		want = before[0].Data
	}
	if want != nil && !bytes.Equal(after[0].Data, want) {
		return fmt.Errorf("the record changed although: %w", saveErr)
	}
	return saveErr
}

func tryUpload(s *Store, n int) error {
	data := append(fmt.Appendf(nil, "#!/bin/sh\n# %d\n", n), make([]byte, 20<<10)...)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	err := upload(s, digest, data)
	if _, verifyErr := s.Verify(digest); (err == nil) != (verifyErr == nil) {
		return fmt.Errorf("upload said %w, verify %w", err, verifyErr)
	}
	if err == nil {
		return s.DeleteArtifact(digest, nil)
	}
	_ = os.RemoveAll(s.path("uploads", strings.TrimPrefix(digest, digestPrefix)))
	return err
}

func upload(s *Store, digest string, data []byte) error {
	u, at, err := s.BeginUpload(digest, int64(len(data)), UploadOptions{Name: "web"})
	if err != nil {
		return err
	}
	if _, err := u.Write(data[at:]); err != nil {
		return errors.Join(err, u.Close())
	}
	_, err = u.Commit()
	return err
}

func tryLog(s *Store, n int) error {
	f, err := s.OpenLog(fmt.Sprint("svc", n), 1, -1, -1)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), s.RemoveLogs(fmt.Sprint("svc", n), 0))
}

// fillReserve: with a reserve, state is saved on a disk that has nothing left,
// and the reserve comes back when there is space again.
func fillReserve(dir string) error {
	s, err := Open(dir, Options{Reserve: 128 << 10})
	if err != nil {
		return err
	}
	defer s.Close()
	free, err := fill(dir, 0, 20)
	if err != nil {
		return err
	}
	data := bytes.Repeat([]byte("x"), 32<<10) // new, present and previous: 108 KiB
	for i := range 3 {
		if err := save(s, "web", data); err != nil {
			return fmt.Errorf("save %d with a reserve: %w", i, err)
		}
	}
	if _, err := os.Stat(s.path("reserve")); err == nil {
		return errors.New("saved without the reserve: the disk was not full")
	}
	free()
	if err := save(s, "web", data); err != nil {
		return err
	}
	info, err := os.Stat(s.path("reserve"))
	if err != nil || info.Size() != 128<<10 {
		return fmt.Errorf("the reserve did not come back: %w", err)
	}
	return nil
}
