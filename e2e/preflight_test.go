//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

type preflightReport struct {
	Fit      bool
	Findings []struct{ Check, Result, Detail, Remedy string }
}

// preflight tries a service file; DIR in it is the test's own directory.
func preflight(t *testing.T, yaml string) (preflightReport, int) {
	t.Helper()
	harness.Need(t, os.Geteuid() == 0, "a room of one's own takes root here")
	dir := t.TempDir()
	file := filepath.Join(dir, "web.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(yaml, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t, "gracectl"), "preflight", "-f", file, "-o", "json")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(harness.Binary(t, "graced"))+":"+os.Getenv("PATH"))
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // its exit code says it
	var r preflightReport
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatalf("%v: %s\n%s", err, &out, &errs)
	}
	return r, cmd.ProcessState.ExitCode()
}

const preflightSocket = "sockets: [{name: http, listen: \"tcp://127.0.0.1:18080\"}]\n"

// What is wrong with each of these is found before production does.
func TestPreflightFindsTraps(t *testing.T) {
	bad := func(args string) string {
		return "name: web\nartifact: " + harness.Program(t, "bad", "v1") + "\nargs: [" + args + "]\nready: {notify: {}}\n"
	}
	nginx := func(conf, rest string) string {
		path := filepath.Join(t.TempDir(), "nginx.conf")
		if err := os.WriteFile(path, []byte(strings.NewReplacer("DIR", filepath.Dir(path), "ADDRESS", "127.0.0.1:18080").Replace(conf)), 0o644); err != nil {
			t.Fatal(err)
		}
		return "name: web\npreset: nginx\nartifact: host:/usr/sbin/nginx\nargs: [-e, stderr, -c, " + path + "]\n" + rest + preflightSocket
	}
	_, err := exec.LookPath("/usr/sbin/nginx")
	harness.Need(t, err == nil, "nginx is not installed")
	for name, c := range map[string]struct{ yaml, check, result, says string }{
		"signals its parent":      {bad("-mode=kill-parent") + preflightSocket, "leaves its parent alone", "warning", "signal terminated"},
		"clears O_NONBLOCK":       {bad("-mode=clear-nonblock") + preflightSocket, "leaves O_NONBLOCK alone", "warning", "O_NONBLOCK"},
		"unlinks its path":        {bad("-mode=unlink-unix, -with=DIR/web.sock, -after=300ms") + "sockets: [{name: http, listen: \"unix://DIR/web.sock\"}]\n", "leaves unix paths alone", "warning", "web.sock"},
		"has a port of its own":   {bad("-mode=own-port, -with=127.0.0.1:18081") + preflightSocket, "listens on nothing of its own", "warning", "tcp 127.0.0.1:18081"},
		"cannot have it twice":    {bad("-mode=own-port, -with=127.0.0.1:18081") + preflightSocket, "runs beside itself", "problem", "address already in use"},
		"takes a lock":            {bad("-mode=lock-file, -with=/run/web.lock") + preflightSocket, "runs beside itself", "problem", "file exists"},
		"does not end":            {bad("-mode=ignore-term") + "drain: {timeout: 500ms}\n" + preflightSocket, "ends by its drain signal", "problem", "SIGTERM"},
		"leaves children":         {bad("-mode=fork-leftover") + preflightSocket, "leaves nothing behind", "warning", "outlived the program"},
		"a child speaks for it":   {strings.Replace(bad("-mode=grandchild-ready"), "notify: {}", "notify: {}, timeout: 1s", 1) + preflightSocket, "speaks for itself", "warning", "main process"},
		"never gets ready":        {strings.Replace(bad("-mode=never-ready"), "notify: {}", "notify: {}, timeout: 500ms", 1) + preflightSocket, "starts and gets ready", "problem", "not ready within"},
		"exits":                   {bad("-mode=exit-at-once") + preflightSocket, "starts and gets ready", "problem", "giving up at once"},
		"listens elsewhere":       {nginx(strings.Replace(nginxConf, "listen ADDRESS", "listen 127.0.0.2:18080", 1), "ready: {tcp: {socket: http}, timeout: 1s}\n"), "starts and gets ready", "problem", "not ready"},
		"is told by the wrong":    {nginx(nginxConf, "drain: {mode: signal, signal: SIGUSR1, timeout: 500ms}\n"), "ends by its drain signal", "problem", "SIGUSR1"},
		"configures its pid file": {nginx("pid /run/nginx.pid;\n"+nginxConf, ""), "starts and gets ready", "problem", "duplicate"},
	} {
		t.Run(name, func(t *testing.T) {
			r, code := preflight(t, c.yaml)
			if wantCode := map[bool]int{true: 0, false: 1}[r.Fit]; code != wantCode {
				t.Errorf("exit code %d of a report that says fit: %t", code, r.Fit)
			}
			for _, f := range r.Findings {
				if f.Check == c.check {
					if f.Result != c.result || !strings.Contains(f.Detail, c.says) || f.Remedy == "" {
						t.Errorf("found %+v, want %s and %q with a remedy", f, c.result, c.says)
					}
					return
				}
			}
			t.Errorf("nothing about %q in %+v", c.check, r.Findings)
		})
	}
	if _, err := os.Stat("/run/web.lock"); err == nil {
		t.Error("what a program wrote to /run in the room is there outside")
	}
}

// There is nothing to find in these.
func TestPreflightOfGoodPrograms(t *testing.T) {
	for name, yaml := range map[string]string{
		"library":   "name: web\npreset: gracefleet\nartifact: " + harness.Program(t, "runtime", "v1") + "\n",
		"plain":     "name: web\npreset: go-systemd\nartifact: " + harness.Program(t, "plain", "v1") + "\n",
		"gracehttp": "name: web\npreset: gracehttp\nargs: [-protocol=gracehttp, '-address=127.0.0.1:18080']\nartifact: " + harness.Program(t, "foreign", "v1") + "\n",
		"tableflip": "name: web\npreset: tableflip\nargs: [-protocol=tableflip, '-address=127.0.0.1:18080']\nartifact: " + harness.Program(t, "foreign", "v1") + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			r, code := preflight(t, yaml+preflightSocket)
			if code != 0 || !r.Fit {
				t.Errorf("exit code %d, %+v", code, r)
			}
			for _, f := range r.Findings {
				if f.Result != "ok" {
					t.Errorf("found %+v", f)
				}
			}
			t.Log(fmt.Sprint(len(r.Findings), " checks"))
		})
	}
}
