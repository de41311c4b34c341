package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// roleAppend appends from several goroutines and acknowledges each line.
func roleAppend(dir string) error {
	l, err := Open(dir, Options{MaxBytes: 4000, Keep: 1000})
	if err != nil {
		return err
	}
	if d := l.Damages(); len(d) > 0 {
		return d[0]
	}
	var group sync.WaitGroup
	var out sync.Mutex
	for range 4 {
		group.Go(func() {
			for {
				head, err := l.Append(stop("alice"))
				if err != nil {
					return
				}
				out.Lock()
				fmt.Println(head)
				out.Unlock()
			}
		})
	}
	group.Wait()
	return l.Close()
}

// Writers are killed at any instant: no record is damaged and no line that was
// acknowledged is lost.
func TestKilledWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	var known Head
	for range 25 {
		cmd := child("append", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := rand.IntN(20); lines.Scan(); n-- {
			var h Head
			if k, _ := fmt.Sscan(lines.Text(), &h.Seq, &h.Hash); k == 2 && h.Seq > known.Seq {
				known = h
			}
			if n == 0 { // not at the same point of the loop each time
				time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		mustVerify(t, dir, known)
	}
	t.Logf("%d lines acknowledged", known.Seq)
}

// TestDiskFull runs in a file system of its own, which no other process sees.
func TestDiskFull(t *testing.T) { runMounted(t, "fill") }

// On a disk that others have filled, what makes room can still be recorded.
func TestReserve(t *testing.T) { runMounted(t, "reserve") }

func runMounted(t *testing.T, role string) {
	t.Helper()
	cmd := child(role, t.TempDir())
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

func mountSmall(dir, size string) error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	}
	if err != nil {
		fmt.Println("no mount:", err)
	}
	return err
}

// roleReserve appends beside somebody who takes all the space there is.
func roleReserve(dir string) error {
	if err := mountSmall(dir, "4m"); err != nil {
		return err
	}
	audit := filepath.Join(dir, "audit")
	var known Head
	for round := range 3 {
		l, err := Open(audit, Options{})
		if err != nil {
			return err
		}
		if round == 0 {
			if _, err := l.Append(stop("alice")); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 4<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
				return fmt.Errorf("the disk is not full: %w", err)
			}
		}
		for range 300 {
			if known, err = l.Append(stop("alice")); err != nil {
				return fmt.Errorf("round %d after line %d: %w", round, known.Seq, err)
			}
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	fmt.Printf("%d lines on a full disk\n", known.Seq)
	return nil
}

// roleFill appends until the disk is full, frees some, and so on.
func roleFill(dir string) error {
	if err := mountSmall(dir, "256k"); err != nil {
		return err
	}
	audit, ballast := filepath.Join(dir, "audit"), filepath.Join(dir, "ballast")
	l, err := Open(audit, Options{MaxBytes: 5000, Keep: 1000})
	if err != nil {
		return err
	}
	var known Head
	lines := int64(0)
	for round := range 10 {
		if err := os.WriteFile(ballast, make([]byte, (200-round*16)<<10), 0o600); err != nil {
			return err
		}
		for {
			head, err := l.Append(stop("alice"))
			if errors.Is(err, ErrFull) {
				break
			}
			if err != nil {
				return err
			}
			known = head
			lines++
		}
		if found, damages, err := l.Verify(context.Background(), known); err != nil || len(damages) > 0 || found != known || known.Seq != lines {
			return fmt.Errorf("head %v, known %v of %d lines, damages %v, %w", found, known, lines, damages, err)
		}
		if round%2 == 0 { // on a full disk, too, the agent starts
			if err := l.Close(); err != nil {
				return err
			}
			if l, err = Open(audit, Options{MaxBytes: 5000, Keep: 1000}); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d lines in ten rounds\n", lines)
	return l.Close()
}
