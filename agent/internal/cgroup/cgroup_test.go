package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gracefleet/gracefleet/internal/needs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testTree(t *testing.T) *Tree {
	t.Helper()
	tree, err := Open("test-" + filepath.Base(t.TempDir()))
	if err != nil && !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v, want a tree or ErrUnavailable", err)
	}
	needs.That(t, err == nil, "no cgroups here")
	t.Cleanup(func() {
		if filepath.Base(tree.base) != "agent" && os.Geteuid() == 0 {
			os.Remove(tree.base) // fails where it is the agent's own
		}
	})
	return tree
}

// run starts a process in a cgroup.
func run(t *testing.T, d Dir, script string) *exec.Cmd {
	t.Helper()
	f, err := os.Open(string(d))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestLife(t *testing.T) {
	tree := testTree(t)
	for name, kill := range map[string]func(Dir) error{"cgroup.kill": Dir.Kill, "each": Dir.killEach} {
		t.Run(name, func(t *testing.T) {
			d, err := tree.Generation("kill.events", 7)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := tree.Generation("kill.events", 7); err != nil || again != d {
				t.Errorf("again: %q, %v; want %q", again, err, d)
			}
			var st syscall.Stat_t
			if err := syscall.Stat(string(d), &st); err != nil {
				t.Fatal(err)
			}
			if id, err := d.ID(); err != nil || id != st.Ino {
				t.Errorf("ID %d, %v; want inode %d", id, err, st.Ino)
			}
			cmd := run(t, d, "trap '' TERM; (setsid sleep 60 &) ; exec sleep 60")
			pids, err := d.Pids()
			if err != nil || !slices.Contains(pids, cmd.Process.Pid) {
				t.Errorf("Pids %v, %v; want %d among them", pids, err, cmd.Process.Pid)
			}
			if full, err := d.Populated(); err != nil || !full {
				t.Errorf("Populated %t, %v; want true", full, err)
			}
			if err := d.Remove(); !errors.Is(err, syscall.EBUSY) {
				t.Errorf("remove a populated cgroup: %v, want EBUSY", err)
			}
			soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := d.Await(soon); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("await a populated cgroup: %v, want the deadline", err)
			}
			waited := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			go func() { waited <- d.Await(ctx) }()
			if err := kill(d); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			if full, err := d.Populated(); err != nil || full {
				t.Errorf("Populated %t, %v; want false", full, err)
			}
			for range 2 {
				if err := d.Remove(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(filepath.Dir(string(d))); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the service's cgroup is left: %v", err)
			}
			if err := d.Await(ctx); err != nil {
				t.Errorf("await a cgroup that is gone: %v", err)
			}
		})
	}
}

func TestSlotsAndGenerationsAreSiblings(t *testing.T) {
	tree := testTree(t)
	slot, err := tree.Slot("web", 1)
	if err != nil {
		t.Fatal(err)
	}
	gen, err := tree.Generation("web", 1)
	if err != nil {
		t.Fatal(err)
	}
	cmd := run(t, gen, "exec sleep 60")
	if full, err := slot.Populated(); err != nil || full {
		t.Errorf("slot populated %t, %v, by a process of the generation", full, err)
	}
	if err := slot.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if full, err := slot.Populated(); err != nil || !full {
		t.Errorf("slot populated %t, %v, after a process moved in", full, err)
	}
	if err := slot.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for _, d := range []Dir{slot, gen} {
		if err := d.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Remove(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindMount(t *testing.T) {
	const info = `25 20 0:23 / /proc rw - proc proc rw
30 25 0:27 /docker/x /sys/fs/cg\040roup ro,nosuid shared:9 - cgroup2 cgroup rw
`
	mount, root, err := findMount(info)
	if err != nil || mount != "/sys/fs/cg roup" || root != "/docker/x" {
		t.Errorf("got %q, %q, %v", mount, root, err)
	}
	if _, _, err := findMount("25 20 0:23 / /proc rw - proc proc rw\n"); err == nil {
		t.Error("found a mount that is not there")
	}
}

func TestOwnPath(t *testing.T) {
	for _, test := range []struct {
		self, root, want string
		fails            bool
	}{
		{self: "3:cpu:/a\n0::/system.slice/graced.service\n", root: "/", want: "system.slice/graced.service"},
		{self: "0::/\n", root: "/", want: "."},
		{self: "0::/docker/x/web\n", root: "/docker/x", want: "web"},
		{self: "0::/other\n", root: "/docker/x", fails: true},
		{self: "3:cpu:/a\n", root: "/", fails: true},
	} {
		got, err := ownPath(test.self, test.root)
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("ownPath(%q, %q) = %q, %v; want %q", test.self, test.root, got, err, test.want)
		}
	}
}

func TestDelegated(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "only root may delegate")
	tree := testTree(t)
	home := Dir(filepath.Join(tree.base, "home"))
	if err := os.Mkdir(string(home), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := delegate(filepath.Dir(tree.base), string(home)); err == nil {
		t.Error("a cgroup nobody delegated was taken")
	}
	if err := syscall.Setxattr(string(home), "user.delegate", []byte("1"), 0); err != nil {
		needs.That(t, false, "cgroupfs takes no user attributes here: "+err.Error())
	}
	// Another process goes in our place: this one must stay where it is.
	if !delegatedTo(string(home)) {
		t.Error("systemd's mark was not seen")
	}
	if err := home.Remove(); err != nil {
		t.Fatal(err)
	}
}
