//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

const gunicorn = "/usr/bin/gunicorn"

const wsgi = `import os, time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1)
    body = ("gen=%s version=%s\n" % (os.environ["GRACEFLEET_GENERATION"], os.environ["VERSION"])).encode()
    start_response("200 OK", [("X-Generation", os.environ["GRACEFLEET_GENERATION"]), ("Content-Length", str(len(body)))])
    return [body]
`

const gunicornSpec = `name: web
artifact: host:%s
args: [--workers, "2", --pythonpath, %s, app:app]
env: {VERSION: v%d, PYTHONDONTWRITEBYTECODE: "1"}
sockets: [{name: http, listen: "tcp://%s"}]
ready: {http: {socket: http, path: /}}
upgrade: {soak: 0s}
drain: {mode: patient, timeout: 20s}
`

// startGunicorn runs Debian's gunicorn with sync workers. The function it returns
// starts an upgrade to another environment.
func startGunicorn(t *testing.T) (*service, func(int)) {
	_, err := exec.LookPath(gunicorn)
	harness.Need(t, err == nil, gunicorn+" is not installed")
	s := &service{Agent: harness.Start(t), t: t}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	if err := os.WriteFile(filepath.Join(s.Dir, "app.py"), []byte(wsgi), 0o644); err != nil {
		t.Fatal(err)
	}
	version := 0
	apply := func() {
		version++
		s.Apply(t, fmt.Sprintf(gunicornSpec, gunicorn, s.Dir, version, s.address))
	}
	apply()
	s.await(1, pb.Generation_STATE_ACTIVE)
	return s, func(int) {
		apply()
		s.upgrade("", 0)
	}
}

func TestUpgradesOfGunicorn(t *testing.T) {
	s, upgrade := startGunicorn(t)
	s.manyUpgrades(upgrade)
}

func TestRollbacksOfGunicorn(t *testing.T) {
	s, upgrade := startGunicorn(t)
	s.manyRollbacks(upgrade)
}
