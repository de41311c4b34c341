//go:build linux

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// network is machines without a way out: each a network namespace on one of two
// switches, or on both. Over one agents are reached, over the other the services are:
// who is cut off from operators still serves its users.
type network struct {
	name     string
	switches string // the namespace that both are in
	machines []string
}

// The interfaces of a machine, and the bridges that their cables lead to.
const (
	agents = "agents"
	users  = "users"
)

// subnets are the first bytes of the addresses on each switch.
var subnets = map[string]string{agents: "10.213", users: "10.214"}

var networks atomic.Int32

// newNetwork has the two switches. It ends with the test, all machines with it.
func newNetwork(t testing.TB) *network {
	t.Helper()
	Need(t, os.Geteuid() == 0, "network namespaces need root")
	for _, program := range []string{"ip", "nsenter"} {
		_, err := exec.LookPath(program)
		Need(t, err == nil, program+" is not installed")
	}
	n := &network{name: fmt.Sprintf("gf-%d-%d", os.Getpid(), networks.Add(1))}
	n.switches = n.name + "-switches"
	t.Cleanup(func() {
		var gone []string
		for _, m := range append(n.machines, n.switches) {
			gone = append(gone, "netns delete "+m)
		}
		// What never came to be is no reason to leave the rest.
		if err := batch(gone, "-force"); err != nil && !t.Failed() {
			t.Errorf("removing the network: %v", err)
		}
	})
	n.ip(t, "", "netns add "+n.switches)
	for _, sw := range []string{agents, users} {
		n.ip(t, n.switches, "link add "+sw+" type bridge forward_delay 0 stp_state 0 mcast_snooping 0", "link set "+sw+" up")
	}
	return n
}

// add is one more machine, on some of the switches; the number makes its addresses.
func (n *network) add(t testing.TB, name string, number int, switches ...string) (namespace string) {
	t.Helper()
	namespace = n.name + "-" + name
	n.ip(t, "", "netns add "+namespace)
	n.machines = append(n.machines, namespace)
	var cables []string
	addresses := []string{"link set lo up"}
	for _, sw := range switches {
		end := port(sw, number)
		cables = append(cables, fmt.Sprintf("link add %s type veth peer name %s netns %s", end, sw, namespace),
			fmt.Sprintf("link set %s master %s up", end, sw))
		addresses = append(addresses, fmt.Sprintf("address add %s/16 dev %s", address(sw, number), sw), "link set "+sw+" up")
	}
	n.ip(t, n.switches, cables...)
	n.ip(t, namespace, addresses...)
	return namespace
}

// plug puts cables in, or pulls them out, at a switch.
func (n *network) plug(t testing.TB, sw, state string, numbers ...int) {
	t.Helper()
	var lines []string
	for _, number := range numbers {
		lines = append(lines, "link set "+port(sw, number)+" "+state)
	}
	n.ip(t, n.switches, lines...)
}

func port(sw string, number int) string { return fmt.Sprintf("%s%d", sw, number) }

func address(sw string, number int) string {
	return fmt.Sprintf("%s.%d.%d", subnets[sw], number/250, number%250+1)
}

// ip runs commands of ip in a namespace; "" is the test's own.
func (n *network) ip(t testing.TB, namespace string, lines ...string) {
	t.Helper()
	var flags []string
	if namespace != "" {
		flags = []string{"-n", namespace}
	}
	if err := batch(lines, flags...); err != nil {
		t.Fatal(err)
	}
}

// batch runs commands of ip, in one process.
func batch(lines []string, flags ...string) error {
	cmd := exec.Command("ip", append(flags, "-batch", "-")...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
	}
	return nil
}
