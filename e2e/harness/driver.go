//go:build linux

package harness

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/internal/certstest"
)

// Driver is an operator at a machine of their own.
type Driver struct {
	t         testing.TB
	namespace string
	home      string
	inventory string
	files     certstest.Files
	// Coordinator is the etcd that operators ask who drives; nil for none.
	Coordinator *Etcd
}

func (f *Fleet) driver(name string, number int, files certstest.Files) *Driver {
	f.t.Helper()
	return &Driver{
		t: f.t, namespace: f.network.add(f.t, name, number, agents),
		home: f.t.TempDir(), inventory: f.inventory, files: files,
	}
}

// Sent is how many bytes have left the driver's machine.
func (d *Driver) Sent() int64 {
	d.t.Helper()
	cmd := exec.Command("cat", "/proc/net/dev")
	InNetwork(cmd, d.namespace)
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if name, figures, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == agents {
			// The ninth is of what was sent, see proc_net_dev(5).
			sent, err := strconv.ParseInt(strings.Fields(figures)[8], 10, 64)
			if err != nil {
				d.t.Fatal(err)
			}
			return sent
		}
	}
	d.t.Fatalf("the driver has no interface %s: %s", agents, out)
	return 0
}

// Command prepares a gracectl at the driver's machine, for the fleet's inventory.
func (d *Driver) Command(ctx context.Context, args ...string) *exec.Cmd {
	d.t.Helper()
	cmd := exec.CommandContext(ctx, Binary(d.t, "gracectl"), args...)
	cmd.Env = append(os.Environ(), "GRACECTL_INVENTORY="+d.inventory,
		"GRACECTL_TLS_CERT="+d.files.Cert, "GRACECTL_TLS_KEY="+d.files.Key, "GRACECTL_TLS_CA="+d.files.CA,
		"GRACECTL_ETCD_CERT="+d.files.Cert, "GRACECTL_ETCD_KEY="+d.files.Key, "GRACECTL_ETCD_CA="+d.files.CA)
	if d.Coordinator != nil {
		cmd.Env = append(cmd.Env, "GRACECTL_COORDINATOR=etcds://"+d.Coordinator.Address)
	}
	for _, kind := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"} {
		cmd.Env = append(cmd.Env, kind+"="+d.home)
	}
	cmd.Dir = d.home
	InNetwork(cmd, d.namespace)
	return cmd
}

// Try runs a gracectl to its end.
func (d *Driver) Try(args ...string) Result {
	d.t.Helper()
	return d.Start(args...).End()
}

// OK runs a gracectl that has to succeed, and returns its standard output.
func (d *Driver) OK(args ...string) string {
	d.t.Helper()
	r := d.Try(args...)
	if r.Code != 0 {
		d.t.Fatal(r)
	}
	return r.Stdout
}

// Start runs a gracectl, and returns at once.
func (d *Driver) Start(args ...string) *Running {
	d.t.Helper()
	return startRunning(d.t, d.Command(context.Background(), args...))
}
