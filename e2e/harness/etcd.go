//go:build linux

package harness

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/certstest"
)

// Etcd is an etcd of one member, over all its restarts.
type Etcd struct {
	// Address is HOST:PORT, on loopback unless it is a fleet's.
	Address string
	// Files are what a client needs; all empty without TLS.
	Files certstest.Files

	t        testing.TB
	network  string // its namespace; empty for the test's own
	dir      string
	flags    []string
	user     string
	log      log
	cmd      *exec.Cmd
	finished chan struct{}
}

// StartEtcd runs an etcd, which ends with the test. With a CA it has every client
// prove itself by a certificate of that.
func StartEtcd(t testing.TB, ca *certstest.CA) *Etcd {
	t.Helper()
	e := &Etcd{t: t, dir: folder(t, "/tmp"), Address: loopback(t)}
	e.prepare(ca)
	return e
}

// StartEtcd runs an etcd that all operators and hosts of the fleet reach, with TLS.
func (f *Fleet) StartEtcd() *Etcd {
	f.t.Helper()
	e := &Etcd{t: f.t, dir: folder(f.t, "/tmp"), Address: address(agents, etcdNumber) + ":2379"}
	e.network = f.network.add(f.t, "etcd", etcdNumber, agents)
	e.prepare(f.ca)
	return e
}

// prepare starts it for the first time.
func (e *Etcd) prepare(ca *certstest.CA) {
	t := e.t
	t.Helper()
	for _, program := range []string{"etcd", "etcdctl"} {
		_, err := exec.LookPath(program)
		Need(t, err == nil, program+" is not installed")
	}
	client, peer := "http://"+e.Address, "http://"+loopback(t)
	if ca != nil {
		host, _, _ := net.SplitHostPort(e.Address)
		own := ca.Agent("etcd", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP(host)} })
		e.Files = ca.ClientFiles("registry", "root")
		client = "https://" + e.Address
		e.flags = []string{"--cert-file", own.Cert, "--key-file", own.Key, "--client-cert-auth", "--trusted-ca-file", own.CA}
	}
	e.flags = append(e.flags, "--data-dir", e.dir, "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--logger", "zap", "--log-outputs", "stderr")
	t.Cleanup(func() {
		e.Kill()
		if t.Failed() {
			t.Logf("etcd's log:\n%s", e.log.String())
		}
		os.RemoveAll(e.dir)
	})
	e.Start()
}

// loopback is an address at which nobody listens. Not of FreePort, whose ports are
// free when an agent has ended: the etcd outlives it.
func loopback(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start runs it again, with the data of before, and returns when it answers.
func (e *Etcd) Start() {
	e.t.Helper()
	e.cmd = e.command(context.Background(), "etcd", e.flags...)
	e.cmd.Stdout, e.cmd.Stderr = &e.log, &e.log
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	cmd, finished := e.cmd, make(chan struct{})
	e.finished = finished
	go func() {
		_ = cmd.Wait()
		close(finished)
	}()
	limit := time.Now().Add(startLimit)
	for {
		_, err := e.try("endpoint", "health")
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			e.t.Fatalf("etcd does not answer: %v\n%s", err, e.log.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Ctl runs an etcdctl that has to succeed, and returns its standard output.
func (e *Etcd) Ctl(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.t.Fatalf("etcdctl %v: %v: %s", args, err, out)
	}
	return out
}

// leaseLimit is longer than any lease of ours lasts.
const leaseLimit = 45 * time.Second

// Await waits until there are so many keys below a prefix.
func (e *Etcd) Await(keys int, prefix string) {
	e.t.Helper()
	for limit := time.Now().Add(leaseLimit); ; time.Sleep(20 * time.Millisecond) {
		now := strings.Fields(e.Ctl("get", "--prefix", "--keys-only", prefix))
		if len(now) == keys {
			return
		}
		if time.Now().After(limit) {
			e.t.Fatalf("below %s are %v, want %d", prefix, now, keys)
		}
	}
}

func (e *Etcd) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	flags := []string{"--endpoints", e.Address, "--command-timeout", "5s"}
	if e.Files.CA != "" {
		flags = append(flags, "--cacert", e.Files.CA, "--cert", e.Files.Cert, "--key", e.Files.Key)
	}
	if e.user != "" {
		flags = append(flags, "--user", e.user)
	}
	out, err := e.command(ctx, "etcdctl", append(flags, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// command prepares a program at the machine of the etcd.
func (e *Etcd) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	if e.network != "" {
		InNetwork(cmd, e.network)
	}
	return cmd
}

// EnableAuth has everybody say who they are. The user gracefleet with that password may
// do anything below a prefix.
func (e *Etcd) EnableAuth(password, prefix string) {
	e.t.Helper()
	e.Ctl("user", "add", "root:root")
	e.Ctl("user", "grant-role", "root", "root")
	e.Ctl("role", "add", "gracefleet")
	e.Ctl("role", "grant-permission", "gracefleet", "--prefix=true", "readwrite", prefix)
	e.Ctl("user", "add", "gracefleet:"+password)
	e.Ctl("user", "grant-role", "gracefleet", "gracefleet")
	e.Ctl("auth", "enable")
	e.user = "root:root"
}

// Stop has it hang until Continue.
func (e *Etcd) Stop() { e.signal(syscall.SIGSTOP) }

// Continue ends a Stop.
func (e *Etcd) Continue() { e.signal(syscall.SIGCONT) }

func (e *Etcd) signal(s syscall.Signal) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.t.Fatalf("signal etcd: %v", err)
	}
}

// Kill kills it at once, if it runs.
func (e *Etcd) Kill() {
	if e.cmd == nil {
		return
	}
	_ = e.cmd.Process.Kill()
	<-e.finished
	e.cmd = nil
}
