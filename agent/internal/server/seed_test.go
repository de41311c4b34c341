package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
	"github.com/gracefleet/gracefleet/internal/chain"
	"github.com/gracefleet/gracefleet/internal/delta"
	"github.com/gracefleet/gracefleet/internal/identity"
	"github.com/gracefleet/gracefleet/internal/link"
)

func agentID(name string) identity.ID {
	return identity.ID{TrustDomain: "example.org", Role: identity.AgentRole, Name: name}
}

// other is an agent that fetches from the one of a test.
type other struct {
	certs *certs.Keeper
	cert  tls.Certificate
}

func newOther(t *testing.T, ca *certstest.CA, name string, revoked ...tls.Certificate) *other {
	t.Helper()
	files := certs.Files(ca.Agent(name))
	files.Revoked = ca.Revoke(revoked...)
	keeper, err := certs.Open(files, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return &other{keeper, certstest.Files(files).Pair(t)}
}

// get asks an agent for what is at a path.
func (o *other) get(h *host, as identity.ID, method, path, ticket string, change func(*tls.Config)) (*http.Response, error) {
	config := o.certs.Toward(as, fetch.Protocol)
	if change != nil {
		change(config)
	}
	req, err := http.NewRequest(method, "https://"+h.remote.Listener.Addr().String()+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+ticket)
	return (&http.Transport{TLSClientConfig: config, DisableKeepAlives: true}).RoundTrip(req)
}

// fetcher has a store of its own.
func (o *other) fetcher(t *testing.T, seeds bool) *fetch.Fetcher {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "state"), store.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	p, err := fetch.NewPolicy(nil, "", seeds)
	if err != nil {
		t.Fatal(err)
	}
	f := fetch.New(st, "v1", p)
	f.SetPeers(o.certs)
	return f
}

func proofOf(t *testing.T, content []byte) []byte {
	t.Helper()
	proof, err := delta.Proof(digestOf(content), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// seeding is an agent with an artifact that another one may fetch.
func seeding(t *testing.T, size int) (h *host, ca *certstest.CA, content []byte, ticket string) {
	t.Helper()
	ca = certstest.NewCA(t)
	h = newHostAt(t, listenRemote(t, ca), withoutBound)
	content = script(size)
	if _, err := h.upload(t, header(content, 0), content); err != nil {
		t.Fatal(err)
	}
	answer, err := h.artifacts().GrantArtifact(limited(t), grantOf(t, content, "web-2"))
	if err != nil {
		t.Fatal(err)
	}
	return h, ca, content, answer.GetTicket()
}

func grantOf(t *testing.T, content []byte, agent string) *pb.GrantArtifactRequest {
	t.Helper()
	return &pb.GrantArtifactRequest{Digest: digestOf(content), AgentId: agentID(agent).String(), Proof: proofOf(t, content)}
}

func hexOf(content []byte) string { return strings.TrimPrefix(digestOf(content), "sha256:") }

func TestFetchFromASeed(t *testing.T) {
	h, ca, content, ticket := seeding(t, 1<<20)
	to := newOther(t, ca, "web-2")
	at, err := link.Parse("https://" + h.remote.Listener.Addr().String() + "/" + hexOf(content))
	if err != nil {
		t.Fatal(err)
	}
	order := fetch.Order{Digest: digestOf(content), Seed: &fetch.Seed{At: at, Agent: agentID("web-1"), Ticket: ticket}, Options: store.UploadOptions{Name: "web"}}
	nothing := func(int64, int64) error { return nil }
	// What ended early goes on where it was, with the same ticket.
	broken := errors.New("broken off")
	f := to.fetcher(t, true)
	if _, err := f.Fetch(t.Context(), order, func(n, _ int64) error {
		if n > 0 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) || strings.Contains(err.Error(), ticket) {
		t.Fatal(err)
	}
	a, err := f.Fetch(t.Context(), order, nothing)
	if err != nil || a.Size != 1<<20 {
		t.Fatalf("%+v, %v", a, err)
	}
	for name, wrong := range map[string]func(*fetch.Order, *fetch.Fetcher){
		"a host that fetches from no agents": func(_ *fetch.Order, f *fetch.Fetcher) { f.SetPolicy(&fetch.Policy{}) },
		"another agent than was named":       func(o *fetch.Order, _ *fetch.Fetcher) { o.Seed.Agent = agentID("web-3") },
		"a ticket that nobody granted":       func(o *fetch.Order, _ *fetch.Fetcher) { o.Seed.Ticket = strings.Repeat("A", 26) },
		"a seed whose certificate is revoked": func(_ *fetch.Order, f *fetch.Fetcher) {
			seed := h.remote.Certificates.(*certs.Keeper).Leaf()
			f.SetPeers(newOther(t, ca, "web-2", tls.Certificate{Leaf: seed}).certs)
		},
		"no certificate of one's own": func(_ *fetch.Order, f *fetch.Fetcher) { f.SetPeers(nil) },
	} {
		o, f := order, to.fetcher(t, true)
		seed := *order.Seed
		o.Seed = &seed
		wrong(&o, f)
		_, err := f.Fetch(t.Context(), o, nothing)
		if !errors.Is(err, fetch.ErrUnusable) && !errors.Is(err, fetch.ErrRefused) || strings.Contains(err.Error(), o.Seed.Ticket) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A ticket is for one agent and one artifact, for a time.
func TestTickets(t *testing.T) {
	h, ca, content, ticket := seeding(t, 10_000)
	more := append(script(10_001), '\n')
	if _, err := h.upload(t, header(more, 0), more); err != nil {
		t.Fatal(err)
	}
	right, wrong := newOther(t, ca, "web-2"), newOther(t, ca, "web-3")
	ask := func(o *other, method, path, ticket string) (int, string) {
		t.Helper()
		resp, err := o.get(h, agentID("web-1"), method, path, ticket, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := ask(right, "GET", "/"+hexOf(content), ticket); code != http.StatusOK || body != string(content) {
		t.Fatalf("%d, %d bytes", code, len(body))
	}
	before := h.audit.Head().Seq
	for name, code := range map[string]int{
		"another agent":    first(ask(wrong, "GET", "/"+hexOf(content), ticket)),
		"another artifact": first(ask(right, "GET", "/"+hexOf(more), ticket)),
		"no ticket":        first(ask(right, "GET", "/"+hexOf(content), "")),
		"another ticket":   first(ask(right, "GET", "/"+hexOf(content), ticket[1:])),
	} {
		if code != http.StatusForbidden {
			t.Errorf("%s: %d", name, code)
		}
	}
	for _, path := range []string{"/", "/x", "/" + strings.ToUpper(hexOf(content)), "/../" + hexOf(content)} {
		if code := first(ask(right, "GET", path, ticket)); code != http.StatusBadRequest {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code := first(ask(right, "POST", "/"+hexOf(content), ticket)); code != http.StatusBadRequest {
		t.Errorf("POST: %d", code)
	}
	denied := h.since(t, before)
	if len(denied) != 4 || denied[0].Decision != chain.Denied || !strings.HasPrefix(denied[0].Actor, "agent/web-") || strings.Contains(fmt.Sprint(denied), ticket[1:]) {
		t.Errorf("recorded %+v", denied)
	}
	h.server.tickets.mu.Lock()
	h.server.tickets.now = func() time.Time { return time.Now().Add(ticketLife) }
	h.server.tickets.mu.Unlock()
	if code := first(ask(right, "GET", "/"+hexOf(content), ticket)); code != http.StatusForbidden {
		t.Errorf("expired: %d", code)
	}
}

func first[A, B any](a A, _ B) A { return a }

func TestGrants(t *testing.T) {
	h, _, content, ticket := seeding(t, 10_000)
	before := h.audit.Head().Seq
	for field, change := range map[string]func(*pb.GrantArtifactRequest){
		"digest":   func(r *pb.GrantArtifactRequest) { r.Digest = "x" },
		"agent_id": func(r *pb.GrantArtifactRequest) { r.AgentId = "spiffe://example.org/gracefleet/admin/alice" },
	} {
		r := grantOf(t, content, "web-2")
		change(r)
		_, err := h.artifacts().GrantArtifact(limited(t), r)
		wantViolation(t, err, field)
	}
	r := grantOf(t, content, "web-2")
	r.AgentId = "spiffe://example.com/gracefleet/agent/web-2"
	_, err := h.artifacts().GrantArtifact(limited(t), r)
	wantViolation(t, err, "agent_id")
	// Who has pushed nothing, and knows a digest, reads nothing.
	r = grantOf(t, content, "web-2")
	r.Proof = nil
	_, err = h.artifacts().GrantArtifact(limited(t), r)
	wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_DELTA_REFUSED)
	_, err = h.artifacts().GrantArtifact(limited(t), grantOf(t, script(77), "web-2"))
	wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_DELTA_REFUSED)
	if lines := h.since(t, before); len(lines) == 0 || lines[0].Decision != chain.Allowed || strings.Contains(fmt.Sprint(lines), ticket) {
		t.Errorf("recorded %+v", lines)
	}
	for range maxTickets {
		if _, _, err = h.server.tickets.grant(h.store, digestOf(content), agentID("web-2"), proofOf(t, content)); err != nil {
			break
		}
	}
	wantError(t, toStatus(t.Context(), err), codes.ResourceExhausted, pb.Reason_REASON_RATE_LIMITED)
	h.server.tickets.now = func() time.Time { return time.Now().Add(ticketLife) }
	if _, _, err := h.server.tickets.grant(h.store, digestOf(content), agentID("web-2"), proofOf(t, content)); err != nil || len(h.server.tickets.all) != 1 {
		t.Errorf("after their end: %v, %d", err, len(h.server.tickets.all))
	}
}

// Each protocol has its own callers: agents get artifacts and call nothing, and clients
// the other way round.
func TestProtocolsAreApart(t *testing.T) {
	h, ca, content, ticket := seeding(t, 10_000)
	agent := newOther(t, ca, "web-2")
	stranger := newOther(t, certstest.NewCA(t), "web-2")
	for name, cert := range map[string]*tls.Certificate{
		"a client's":            pointer(ca.Client("admin", "alice")),
		"no certificate":        {},
		"an agent's of another": &stranger.cert,
	} {
		before := h.audit.Head().Seq
		resp, err := agent.get(h, agentID("web-1"), "GET", "/"+hexOf(content), ticket, func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		})
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
		h.await(t, before, func(e audit.Entry) bool { return e.Method == methodHandshake && e.Decision == chain.Denied })
	}
	// Who offers both speaks gRPC, which is not for agents.
	for _, protocols := range [][]string{{"h2", fetch.Protocol}, {fetch.Protocol, "h2"}, {"http/1.1"}} {
		resp, err := agent.get(h, agentID("web-1"), "GET", "/"+hexOf(content), ticket, func(c *tls.Config) { c.NextProtos = protocols })
		if err == nil {
			resp.Body.Close()
			t.Errorf("%v: %d", protocols, resp.StatusCode)
		}
	}
	conn := h.dialTLS(t, ca, agent.cert)
	defer conn.Close()
	if _, err := whoami(t, conn); status.Code(err) != codes.Unavailable {
		t.Errorf("an agent on gRPC: %v", err)
	}
}

func pointer[T any](v T) *T { return &v }

// An agent whose certificate is revoked loses what it fetches at the moment.
func TestRevokedAgents(t *testing.T) {
	h, ca, content, ticket := seeding(t, 64<<20)
	agent := newOther(t, ca, "web-2")
	resp, err := agent.get(h, agentID("web-1"), "GET", "/"+hexOf(content), ticket, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	defer resp.Body.Close()
	ca.Revoke(agent.cert)
	h.rereads(t)
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("all %d bytes came", n)
	}
	if resp, err := agent.get(h, agentID("web-1"), "GET", "/"+hexOf(content), ticket, nil); err == nil {
		resp.Body.Close()
		t.Errorf("revoked: %d", resp.StatusCode)
	}
}

// More than a few at once are told to come later.
func TestSeedsServeFewAtOnce(t *testing.T) {
	h, ca, content, ticket := seeding(t, 10_000)
	agent := newOther(t, ca, "web-2")
	for range maxSeeded {
		if _, err := h.seeds(t).places.take("x", ""); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := agent.get(h, agentID("web-1"), "GET", "/"+hexOf(content), ticket, nil)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
}

func (h *host) seeds(t *testing.T) *seeds {
	t.Helper()
	return h.server.remote.Load().seeds
}

func TestSeedsInRequests(t *testing.T) {
	h := newHost(t)
	good := func() *pb.ArtifactSeed {
		return &pb.ArtifactSeed{Address: "10.0.0.1:7443", AgentId: agentID("web-1").String(), Ticket: strings.Repeat("A", 26)}
	}
	for field, changes := range map[string][]func(*pb.ArtifactSeed){
		"seed.address": {
			func(s *pb.ArtifactSeed) { s.Address = "10.0.0.1" },
			func(s *pb.ArtifactSeed) { s.Address = "a/b:1" },
			func(s *pb.ArtifactSeed) { s.Address = "a@b:1" },
			func(s *pb.ArtifactSeed) { s.Address = "" },
		},
		"seed.agent_id": {
			func(s *pb.ArtifactSeed) { s.AgentId = "" },
			func(s *pb.ArtifactSeed) { s.AgentId = "spiffe://example.org/gracefleet/admin/alice" },
		},
		"seed.ticket": {
			func(s *pb.ArtifactSeed) { s.Ticket = "" },
			func(s *pb.ArtifactSeed) { s.Ticket = "A\r\nX: y" },
			func(s *pb.ArtifactSeed) { s.Ticket = strings.Repeat("A", 1000) },
		},
	} {
		for _, change := range changes {
			r, seed := fetchOf(script(1000), ""), good()
			change(seed)
			r.Source = &pb.FetchArtifactRequest_Seed{Seed: seed}
			_, err := h.fetch(limited(t), r)
			wantViolation(t, err, field)
		}
	}
	before := h.audit.Head().Seq
	r, seed := fetchOf(script(1000), ""), good()
	r.Source = &pb.FetchArtifactRequest_Seed{Seed: seed}
	_, err := h.fetch(limited(t), r)
	e := wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_FETCH_FAILED)
	if !strings.Contains(e.Message, "fetch: {seeds: true}") || strings.Contains(e.Message, seed.Ticket) {
		t.Errorf("it says %s", e.Message)
	}
	lines := h.since(t, before)
	if text := fmt.Sprint(lines); len(lines) != 2 || strings.Contains(text, seed.Ticket) || !strings.Contains(text, "at 10.0.0.1:7443") {
		t.Errorf("recorded %s", text)
	}
}
