package server

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
	"github.com/gracefleet/gracefleet/internal/chain"
)

func listenRemote(t *testing.T, ca *certstest.CA) *Remote {
	t.Helper()
	files := certs.Files(ca.Agent("web-1"))
	files.Revoked = ca.Revoke()
	keeper, err := certs.Open(files, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &Remote{Listener: l, Certificates: keeper}
}

func (h *host) dialTLS(t *testing.T, ca *certstest.CA, client ...tls.Certificate) *grpc.ClientConn {
	t.Helper()
	config := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Certificates: client}
	conn, err := grpc.NewClient("dns:///"+h.remote.Listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func whoami(t *testing.T, conn *grpc.ClientConn) (*pb.GetCallerResponse, error) {
	t.Helper()
	return pb.NewAgentServiceClient(conn).GetCaller(limited(t), &pb.GetCallerRequest{})
}

// Whoever is nobody is turned away before any call.
func TestTurnedAway(t *testing.T) {
	ca, other := certstest.NewCA(t), certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca), withoutBound)
	revoked := ca.Client("admin", "stolen")
	ca.Revoke(revoked)
	h.rereads(t)
	uri := func(text ...string) certstest.Change {
		return func(c *x509.Certificate) {
			c.URIs = nil
			for _, s := range text {
				u, err := url.Parse(s)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}
	}
	for name, cert := range map[string][]tls.Certificate{
		"no certificate":  nil,
		"wrong CA":        {other.Client("admin", "eve")},
		"expired":         {ca.Client("admin", "a", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })},
		"not yet valid":   {ca.Client("admin", "b", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })},
		"revoked":         {revoked},
		"role in CN only": {ca.Client("admin", "c", uri(), func(c *x509.Certificate) { c.Subject.CommonName = "admin" })},
		"two roles":       {ca.Client("x", "d", uri("spiffe://example.org/gracefleet/read/d", "spiffe://example.org/gracefleet/admin/d"))},
		"another domain":  {ca.Client("x", "e", uri("spiffe://example.com/gracefleet/admin/e"))},
		"an agent's":      {ca.Client("x", "f", uri("spiffe://example.org/gracefleet/agent/f"))},
		"a server's":      {ca.Client("admin", "g", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},
	} {
		after := h.audit.Head().Seq
		conn := h.dialTLS(t, ca, cert...)
		if answer, err := whoami(t, conn); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
		conn.Close()
		h.await(t, after, func(e audit.Entry) bool {
			return e.Method == methodHandshake && e.Decision == chain.Denied && e.Why != ""
		})
	}
	if h.supervisor.last() != nil {
		t.Error("somebody reached the supervisor")
	}
	plain, err := grpc.NewClient("dns:///"+h.remote.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := whoami(t, plain); status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: %v", err)
	}
}

// rereads has changed files hold at once.
func (h *host) rereads(t *testing.T) {
	t.Helper()
	keeper := h.remote.Certificates.(*certs.Keeper)
	changed, stop := make(chan struct{}, 1), make(chan struct{})
	ctx := limited(t)
	go func() {
		defer close(stop)
		keeper.Run(ctx, func() { changed <- struct{}{} })
	}()
	<-changed
	h.server.Recheck()
	t.Cleanup(func() { <-stop })
}

func TestTLSVersions(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	config := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{ca.Client("read", "x")}, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if c, err := tls.Dial("tcp", h.remote.Listener.Addr().String(), config); err == nil {
		c.Close()
		t.Error("TLS 1.2 is spoken")
	}
}

func TestWhoami(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	conn := h.dialTLS(t, ca, ca.Client("operator", "alice"))
	defer conn.Close()
	answer, err := whoami(t, conn)
	if err != nil || answer.GetActor() != "operator/alice" || len(answer.GetRoles()) != 1 || answer.GetRoles()[0] != "operator" || len(answer.GetGrants()) != 1 {
		t.Fatalf("%v, %v", answer, err)
	}
	agent := pb.NewAgentServiceClient(conn)
	for permission, want := range map[string]bool{"stop": true, "admin": false} {
		answer, err := agent.CheckPermission(limited(t), &pb.CheckPermissionRequest{Permission: permission, Service: "web"})
		if err != nil || answer.GetAllowed() != want {
			t.Errorf("%s: %v, %v", permission, answer, err)
		}
	}
	_, err = agent.CheckPermission(limited(t), &pb.CheckPermissionRequest{Permission: "everything"})
	wantViolation(t, err, "permission")
	stranger := h.dialTLS(t, ca, ca.Client("gardener", "bob"))
	defer stranger.Close()
	if answer, err := whoami(t, stranger); err != nil || len(answer.GetGrants()) != 0 {
		t.Errorf("a role that nobody defined: %v, %v", answer, err)
	}
	_, err = pb.NewSupervisorServiceClient(stranger).GetService(limited(t), &pb.GetServiceRequest{Name: "web"})
	wantError(t, err, codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
	if local, err := whoami(t, h.conn); err != nil || len(local.GetGrants()) != 1 || local.GetGrants()[0].GetPermissions()[0] != "admin" {
		t.Errorf("the agent's own user: %v, %v", local, err)
	}
}

// A certificate that is revoked ends the connection that it opened.
func TestRevokedWhileConnected(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	ci, alice := ca.Client("read", "ci"), ca.Client("read", "alice")
	stolen, good := h.dialTLS(t, ca, ci), h.dialTLS(t, ca, alice)
	defer stolen.Close()
	defer good.Close()
	for _, conn := range []*grpc.ClientConn{stolen, good} {
		if _, err := whoami(t, conn); err != nil {
			t.Fatal(err)
		}
	}
	ca.Revoke(ci)
	h.rereads(t)
	waitFor(t, func() bool { return stolen.GetState() != connectivity.Ready })
	if _, err := whoami(t, stolen); status.Code(err) != codes.Unavailable {
		t.Errorf("revoked: %v", err)
	}
	if good.GetState() != connectivity.Ready {
		t.Error("another's connection was ended")
	}
}

// A session is not resumed: that would skip the look at what was revoked.
func TestNoResumption(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	config := &tls.Config{
		RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{ca.Client("read", "x")},
		ClientSessionCache: tls.NewLRUClientSessionCache(8), NextProtos: []string{"h2"},
	}
	for range 3 {
		c, err := tls.Dial("tcp", h.remote.Listener.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		if c.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = c.Read(make([]byte, 100)) // tickets would come with the first bytes
		c.Close()
	}
}

// A changed policy holds for the next call; streams are to be asked for again.
func TestPolicyChanges(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	h.supervisor.status = supervisor.Status{Name: "web"}
	conn := h.dialTLS(t, ca, ca.Client("ci", "x"))
	defer conn.Close()
	services := pb.NewSupervisorServiceClient(conn)
	_, err := services.GetService(limited(t), &pb.GetServiceRequest{Name: "web"})
	wantError(t, err, codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
	ci := map[string]access.Role{"ci": {May: []access.Permission{access.Read}, Services: []string{"web"}}}
	h.server.SetPolicy(&access.Policy{TrustDomain: "example.org", Roles: ci})
	if _, err := services.GetService(limited(t), &pb.GetServiceRequest{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	watch, err := services.WatchService(limited(t), &pb.WatchServiceRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	h.server.SetPolicy(&access.Policy{TrustDomain: "example.org"})
	for err == nil {
		_, err = watch.Recv()
	}
	wantError(t, err, codes.Unavailable, 0)
	_, err = services.GetService(limited(t), &pb.GetServiceRequest{Name: "web"})
	wantError(t, err, codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
}

// A role for one service does not learn of others.
func TestOthersAreHidden(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	h.server.SetPolicy(&access.Policy{TrustDomain: "example.org", Roles: map[string]access.Role{"ci": {May: []access.Permission{access.Read}, Services: []string{"web"}}}})
	conn := h.dialTLS(t, ca, ca.Client("ci", "x"))
	defer conn.Close()
	services := pb.NewSupervisorServiceClient(conn)
	h.supervisor.list = []supervisor.Status{{Name: "db"}, {Name: "web"}}
	h.supervisor.events = []supervisor.Event{{Service: "db", Sequence: 1, Notice: &supervisor.Notice{Message: "secret"}}, {Service: "web", Sequence: 2, Notice: &supervisor.Notice{Message: "mine"}}}
	if list, err := services.ListServices(limited(t), &pb.ListServicesRequest{}); err != nil || len(list.GetServices()) != 1 || list.GetServices()[0].GetService().GetName() != "web" {
		t.Errorf("listed %v, %v", list, err)
	}
	events, err := services.WatchEvents(limited(t), &pb.WatchEventsRequest{NoFollow: true})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := events.Recv(); err != nil || e.GetEvent().GetService() != "web" {
		t.Errorf("heard %v, %v", e, err)
	}
}

// Handshakes that never end keep nobody from the local socket, and end.
func TestHalfOpenHandshakes(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	for range 3 * maxHandshakes {
		c, err := net.Dial("tcp", h.remote.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if _, err := whoami(t, h.conn); err != nil {
		t.Error(err)
	}
	waitFor(t, func() bool {
		h.server.handshakes.mu.Lock()
		defer h.server.handshakes.mu.Unlock()
		return h.server.handshakes.open == 0
	})
	conn := h.dialTLS(t, ca, ca.Client("read", "late"))
	defer conn.Close()
	if _, err := whoami(t, conn); err != nil {
		t.Error(err)
	}
}
