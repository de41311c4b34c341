//go:build linux

package harness

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/load"
)

// Clients are users of a fleet's service, at a machine of their own. They send each
// host requests all the time, some on connections of their own, some on lasting ones.
type Clients struct {
	t       testing.TB
	hosts   map[string]*Host // by address
	stuck   time.Duration    // a request is, when one sent so much later is answered first
	running *Running
}

const (
	// perHost is how many requests a second each host gets of either kind.
	perHost = 10
	// patience is how long users wait for an answer: a fleet on two cores is slow, not
	// lost.
	patience = 30 * time.Second
)

// Clients begin to send.
func (f *Fleet) Clients() *Clients {
	f.t.Helper()
	return f.ClientsAt(perHost, patience)
}

// ClientsAt is Clients with so many requests a second to each host, of either kind, and
// users who wait that long for an answer.
func (f *Fleet) ClientsAt(rate int, patience time.Duration) *Clients {
	f.t.Helper()
	// A machine that is slow is slow for all.
	c := &Clients{t: f.t, hosts: map[string]*Host{}, stuck: patience / 6}
	var addresses []string
	for _, h := range f.Hosts {
		a := fmt.Sprintf("%s:%d", address(users, h.number), servicePort)
		c.hosts[a] = h
		addresses = append(addresses, a)
	}
	each := fmt.Sprint(rate)
	cmd := exec.Command(Binary(f.t, "loadgen"), "-address", strings.Join(addresses, ","), "-fresh", each, "-keep-alive", each,
		"-connections", fmt.Sprint(min(rate, 2)), "-timeout", patience.String(), "-duration", "0")
	InNetwork(cmd, f.clients)
	c.running = startRunning(f.t, cmd)
	return c
}

// End has them leave, and returns what they saw of each host. A request that was lost, or
// stuck while others were answered, fails the test, and so does a host that none was
// sent to.
func (c *Clients) End() map[*Host]load.Snapshot {
	c.t.Helper()
	c.running.signal(syscall.SIGINT)
	r := c.running.End()
	var figures map[string]load.Snapshot
	if err := json.Unmarshal([]byte(r.Stdout), &figures); err != nil {
		c.t.Fatalf("what the clients saw: %v: %v", err, r)
	}
	seen := map[*Host]load.Snapshot{}
	for address, h := range c.hosts {
		s := figures[address]
		if s.Lost() > 0 || s.Answered() == 0 {
			c.t.Errorf("%s: %v", h.Name, s)
		}
		if s.Overtaken > c.stuck {
			c.t.Errorf("%s: a request was stuck while one sent %v later was answered: %v", h.Name, s.Overtaken, s)
		}
		seen[h] = s
	}
	return seen
}
