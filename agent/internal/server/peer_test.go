package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/needs"
)

// Roles of the local socket: root's and the agent's own, else by group.
func TestLocalRoles(t *testing.T) {
	policy := &access.Policy{Groups: map[string]string{"root": "operator", "daemon": "read", "no-such-group": "admin"}}
	s := New(Options{Supervisor: &recorder{}, Log: hclog.NewNullLogger(), Policy: policy})
	s.owner = 1000
	for name, row := range map[string]struct {
		peer Peer
		want string
	}{
		"root":                {Peer{UID: 0, GID: 0}, "admin on every service"},
		"the agent's user":    {Peer{UID: 1000, GID: 9}, "admin on every service"},
		"group":               {Peer{UID: 7, GID: 1}, "read on every service"},
		"supplementary group": {Peer{UID: 7, GID: 9, groups: []uint32{3, 1}}, "read on every service"},
		"two groups":          {Peer{UID: 7, GID: 0, groups: []uint32{1}}, "read, logs, push, upgrade, rollback, stop on every service; read on every service"},
		"stranger":            {Peer{UID: 7, GID: 9, groups: []uint32{3}}, "nothing"},
	} {
		if got := s.grants(Caller{local: &row.peer}).String(); got != row.want {
			t.Errorf("%s has %s, want %s", name, got, row.want)
		}
	}
}

func TestActor(t *testing.T) {
	if got := (Peer{UID: 1000, Name: "alice"}).String(); got != "alice (uid 1000)" {
		t.Errorf("got %q", got)
	}
	if got := (Peer{UID: 1000}).String(); got != "uid 1000" {
		t.Errorf("got %q", got)
	}
}

// as connects with other credentials: those of a thread that ends with it.
func as(uid, gid int, groups ...uint32) grpc.DialOption {
	return grpc.WithContextDialer(func(_ context.Context, target string) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends here
			conn, err := connectAs(strings.TrimPrefix(target, "unix:"), uid, gid, groups)
			done <- result{conn, err}
		}()
		r := <-done
		return r.conn, r.err
	})
}

func connectAs(path string, uid, gid int, groups []uint32) (net.Conn, error) {
	if err := setIDs(uid, gid, groups); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// openToAll lets everybody connect: what then decides is who they are.
func (h *host) openToAll(t *testing.T) {
	t.Helper()
	for _, p := range []string{h.socket, filepath.Dir(h.socket), filepath.Dir(filepath.Dir(h.socket))} {
		if err := os.Chmod(p, 0o777); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStrangersAreTurnedAway(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "becoming another user needs root")
	h := newHost(t)
	h.openToAll(t)
	call := func(option grpc.DialOption) error {
		conn := h.dial(t, option)
		defer conn.Close()
		_, err := pb.NewSupervisorServiceClient(conn).StopService(limited(t), &pb.StopServiceRequest{Name: "web"})
		return err
	}
	wantError(t, call(as(65534, 65534)), codes.Unavailable, 0)
	if h.supervisor.last() != nil {
		t.Fatal("a stranger reached the supervisor")
	}
	// Not even the group of the socket's file: only what the policy says counts.
	wantError(t, call(as(65534, 65534, 0)), codes.Unavailable, 0)
	h.server.SetPolicy(&access.Policy{Groups: map[string]string{"daemon": "stop"}})
	if err := call(as(65534, 65534, 3, 1)); err != nil {
		t.Fatalf("a member of the group: %v", err)
	}
	h.server.SetPolicy(&access.Policy{Groups: map[string]string{"daemon": "read"}})
	wantError(t, call(as(65534, 65534, 3, 1)), codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
}

func TestConnectionLimits(t *testing.T) {
	h := newHost(t, func(s *Server) { s.gate = newGate(3, 2) })
	ctx := limited(t)
	ask := func(conn *grpc.ClientConn) error {
		_, err := pb.NewArtifactServiceClient(conn).DeleteArtifact(ctx, &pb.DeleteArtifactRequest{Digest: digestOf(nil)})
		return err
	}
	second, third := h.dial(t), h.dial(t)
	defer second.Close()
	defer third.Close()
	wantError(t, ask(h.conn), codes.NotFound, pb.Reason_REASON_ARTIFACT_NOT_FOUND)
	wantError(t, ask(second), codes.NotFound, pb.Reason_REASON_ARTIFACT_NOT_FOUND)
	wantError(t, ask(third), codes.Unavailable, 0)
	second.Close()
	waitFor(t, func() bool { return status.Code(ask(third)) == codes.NotFound })
}

func TestGate(t *testing.T) {
	g := newGate(2, 2)
	enter := func(uid uint32) (net.Conn, error) {
		a, b := net.Pipe()
		b.Close()
		return g.enter(fmt.Sprint(uid), a)
	}
	first, err := enter(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = enter(2); err != nil {
		t.Fatal(err)
	}
	if _, err = enter(3); err == nil {
		t.Fatal("more than in all")
	}
	first.Close()
	first.Close() // counts once
	if _, err = enter(3); err != nil {
		t.Fatal(err)
	}
	if _, err = enter(4); err == nil || !strings.Contains(err.Error(), "limits are 2 and 2") {
		t.Fatalf("got %v", err)
	}
}

func TestOnlyUnixSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = New(Options{Log: hclog.NewNullLogger(), Policy: &access.Policy{}}).Serve(t.Context(), l, nil)
	if err == nil || !strings.Contains(err.Error(), "not a unix socket") {
		t.Fatalf("got %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}
