//go:build linux

package harness

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestMain(m *testing.M) { Main(m) }

// web declares a service on the library.
func web(t *testing.T, port int) string {
	return fmt.Sprintf("name: web\nartifact: %s\nsockets: [{name: http, listen: \"tcp://127.0.0.1:%d\"}]\nready: {notify: {}}\n", Program(t, "runtime", "v1"), port)
}

func TestAgent(t *testing.T) {
	a := Start(t)
	a.Apply(t, web(t, FreePort(t)))
	active := a.Await(t, "web", func(s *pb.ServiceStatus) bool { return Active(s) != nil }, 10*time.Second)
	pid := Active(active).GetPid()

	a.Kill9(t)
	a.Restart(t)
	if got := Active(a.Status(t, "web")).GetPid(); got != pid {
		t.Errorf("after a restart of the agent the service has process %d, it was %d", got, pid)
	}
	var answer struct{ Service any }
	a.CtlJSON(t, &answer, "status", "web")
	if answer.Service == nil {
		t.Error("gracectl status has no service")
	}
	if r := a.Ctl(t, "status", "nobody"); r.Code != 1 || !strings.Contains(r.Stderr, "nobody") {
		t.Errorf("status of an unknown service: %v", r)
	}
}

func TestLeftovers(t *testing.T) {
	a := Start(t)
	port := FreePort(t)
	a.Apply(t, web(t, port))
	stray := exec.Command("sleep", "60")
	stray.Env = []string{"STRAY=" + a.Dir + "/x"}
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	defer stray.Wait()
	defer stray.Process.Kill()
	left := a.leftovers(portsOf(t))
	for _, want := range []string{"sleep 60", "graced-shim", "runtime-v1", fmt.Sprintf("tcp listener on port %d", port)} {
		if !slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no %q among what is left: %v", want, left)
		}
	}
}

func TestFreePort(t *testing.T) {
	if one, other := FreePort(t), FreePort(t); one == other {
		t.Errorf("port %d was given twice", one)
	}
}
