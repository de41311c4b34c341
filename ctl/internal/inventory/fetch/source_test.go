package fetch

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, text string) (*inventory.Inventory, error) {
	t.Helper()
	s, err := Parse(text, etcd.Access{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Read(t.Context())
}

func names(i *inventory.Inventory) string {
	var all []string
	for _, h := range i.Hosts {
		all = append(all, h.Name+"@"+h.Address)
	}
	return strings.Join(all, " ")
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	if _, err := read(t, path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, []byte("hosts: [{name: b}, {name: a}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if i, err := read(t, path); err != nil || names(i) != "a@a:7443 b@b:7443" {
		t.Errorf("%v %v", i, err)
	}
	if err := os.Truncate(path, 1<<30); err != nil { // a sparse file, of which little is read
		t.Fatal(err)
	}
	if _, err := read(t, path); err == nil || !strings.Contains(err.Error(), "at most 4194304") {
		t.Errorf("%v", err)
	}
}

func TestMisspeltSources(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "an inventory without a name",
		"exec:":                     "absolute path",
		"exec:hosts --all":          "absolute path",
		"exec:[]":                   "absolute path",
		`exec:["sh","-c"]`:          "absolute path",
		`exec:["/bin/sh"`:           "want a list",
		`exec:["/bin/sh",1]`:        "want a list",
		"exec:/bin/a\x00b":          "NUL",
		"srv:":                      "want srv:",
		"etcd://db.example.org":     "etcds:// for db.example.org",
		"srv:example.org":           "want srv:",
		"srv:_gracefleet._tcp.":     "want srv:",
		"srv:_g._sctp.example.org":  "want srv:",
		"srv:_g._tcp.example.org\n": "want srv:",
	} {
		if _, err := Parse(text, etcd.Access{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
}

// shell is a program with these lines.
func shell(lines string) program {
	return program{argv: []string{"/bin/sh", "-c", lines, "hosts"}, limit: execLimit}
}

func TestProgram(t *testing.T) {
	i, err := read(t, `exec:["/bin/sh","-c","printf '{\"hosts\": [{\"name\": \"%s\"}]}' \"$1\"","hosts","a; b"]`)
	if err == nil || !strings.Contains(err.Error(), `exec:/bin/sh:1:21: hosts[0].name: "a; b" is not a name`) {
		t.Errorf("%v, %v: arguments are passed as they are", i, err)
	}
	if i, err = shell(`echo 'hosts: [{name: a}]'; echo careful >&2`).Read(t.Context()); err != nil || names(i) != "a@a:7443" {
		t.Errorf("%v, %v", i, err)
	}
	for lines, want := range map[string]string{
		`printf 'no \033[2Jtoken\n' >&2; exit 3`: `inventory program /bin/sh: exit status 3; it said: "no \x1b[2Jtoken"`,
		`echo why >&2; kill -9 $$`:               `signal: killed; it said: "why"`,
		`yes`:                                    "it printed more than 4194304 bytes",
		`true`:                                   "inventory program /bin/sh printed nothing",
		`echo '<html>'`:                          "exec:/bin/sh:1:1: want a mapping",
		`read line && exit 4; exit 5`:            "exit status 5",
	} {
		if i, err := shell(lines).Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", lines, i, err, want)
		}
	}
	if _, err := (program{argv: []string{"/nonexistent"}, limit: execLimit}).Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A program that hangs is ended, with what it started.
func TestProgramThatHangs(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	p := shell("sleep 600 & echo $! > " + pidFile + "; echo patience >&2; wait")
	p.limit = 500 * time.Millisecond
	_, err := p.Read(t.Context())
	if err == nil || !strings.Contains(err.Error(), `it took too long, more than 500ms; it said: "patience"`) {
		t.Fatalf("%v", err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if !gone(t, strings.TrimSpace(string(text))) {
		t.Errorf("the child %s lives", text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := shell("sleep 600").Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// gone awaits the end of a process that is nobody's child here.
func gone(t *testing.T, pid string) bool {
	t.Helper()
	fd, err := syscall.Open("/proc/"+pid+"/stat", syscall.O_RDONLY, 0)
	if err != nil {
		return true
	}
	defer syscall.Close(fd)
	for range 100 {
		stat := make([]byte, 512)
		n, err := syscall.Pread(fd, stat, 0)
		// A zombie waits for its new parent, and runs no more.
		if err != nil || strings.Contains(string(stat[:n]), ") Z ") {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func TestWhatIsKeptOfStandardError(t *testing.T) {
	var last tail
	for range 100 {
		last.Write([]byte(strings.Repeat("x", 99) + "\n"))
	}
	last.Write([]byte(strings.Repeat("y", 2000) + "end"))
	if text := last.words(); len(text) != len(`; it said: ""`)+tailBytes || !strings.HasSuffix(text, `yend"`) {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

func TestServiceRecords(t *testing.T) {
	answer := func(found []*net.SRV, err error) records {
		return records{name: "_gracefleet._tcp.example.org", lookup: func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
			if _, bounded := ctx.Deadline(); !bounded || service != "" || proto != "" || name != "_gracefleet._tcp.example.org" {
				t.Errorf("asked for %q %q %q", service, proto, name)
			}
			return "", found, err
		}}
	}
	i, err := answer([]*net.SRV{{Target: "web-2.example.org.", Port: 7443}, {Target: "WEB-1.example.org.", Port: 7000}, {Target: "web-2.example.org.", Port: 7443, Weight: 9}}, nil).Read(t.Context())
	if err != nil || names(i) != "web-1.example.org@web-1.example.org:7000 web-2.example.org@web-2.example.org:7443" {
		t.Errorf("%v, %v", i, err)
	}
	for want, source := range map[string]records{
		"inventory srv:_gracefleet._tcp.example.org: no such host":       answer(nil, errors.New("no such host")),
		`a record for ".", port 1: that is no host`:                      answer([]*net.SRV{{Target: ".", Port: 1}}, nil),
		`port 0: that is no host`:                                        answer([]*net.SRV{{Target: "a.", Port: 0}}, nil),
		"both a.example.org:1 and a.example.org:2: a host has one agent": answer([]*net.SRV{{Target: "a.example.org.", Port: 1}, {Target: "a.example.org.", Port: 2}}, nil),
		"more than 10000 hosts":                                          answer(make([]*net.SRV, inventory.MaxHosts+1), nil),
	} {
		if i, err := source.Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v; want %s", i, err, want)
		}
	}
}
