package server

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder stands for the supervisor: it remembers what it was asked and
// answers what the test put in.
type recorder struct {
	mu       sync.Mutex
	asked    []any
	err      error
	panics   bool
	onRecord func()
	status   supervisor.Status
	list     []supervisor.Status
	upgrades []supervisor.Upgrade
	gens     []supervisor.Generation
	events   []supervisor.Event
	users    map[string][]string
	rollout  supervisor.Rollout
	frozen   *supervisor.Freeze
}

func (r *recorder) record(request any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics {
		panic("as the test wants")
	}
	if r.onRecord != nil {
		r.onRecord()
	}
	r.asked = append(r.asked, request)
	return r.err
}

func (r *recorder) last() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) == 0 {
		return nil
	}
	return r.asked[len(r.asked)-1]
}

func (r *recorder) Apply(_ context.Context, q supervisor.ApplyRequest) (supervisor.ApplyResult, error) {
	return supervisor.ApplyResult{Status: r.status, Created: true}, r.record(q)
}

func (r *recorder) Adopt(_ context.Context, q supervisor.AdoptRequest) (supervisor.AdoptResult, error) {
	return supervisor.AdoptResult{Status: r.status, Program: supervisor.External{PID: 7, Program: "/x", Unit: q.Unit}}, r.record(q)
}

func (r *recorder) Get(_ context.Context, name string) (supervisor.Status, error) {
	return r.status, r.record(name)
}

func (r *recorder) List(context.Context) ([]supervisor.Status, error) {
	return r.list, r.record("list")
}

func (r *recorder) Stop(_ context.Context, c supervisor.ServiceCommand) (supervisor.Status, error) {
	return r.status, r.record(c)
}

func (r *recorder) Start(_ context.Context, c supervisor.ServiceCommand) (supervisor.Status, error) {
	return r.status, r.record(c)
}

func (r *recorder) Reload(_ context.Context, c supervisor.ServiceCommand) (supervisor.Status, bool, error) {
	return r.status, true, r.record(c)
}

func (r *recorder) Delete(_ context.Context, c supervisor.ServiceCommand) error { return r.record(c) }

func (r *recorder) Generations(_ context.Context, name string) ([]supervisor.Generation, error) {
	return r.gens, r.record(name)
}

func (r *recorder) Upgrade(_ context.Context, q supervisor.UpgradeRequest) (supervisor.UpgradeResult, error) {
	return supervisor.UpgradeResult{Attached: true}, r.record(q)
}

func (r *recorder) Rollback(_ context.Context, q supervisor.RollbackRequest) (supervisor.UpgradeResult, error) {
	return supervisor.UpgradeResult{Aborted: true}, r.record(q)
}

func (r *recorder) Promote(_ context.Context, c supervisor.UpgradeCommand) (supervisor.Upgrade, error) {
	return supervisor.Upgrade{ID: "u1"}, r.record(c)
}

func (r *recorder) Abort(_ context.Context, c supervisor.UpgradeCommand) (supervisor.Upgrade, error) {
	return supervisor.Upgrade{ID: "u1"}, r.record(c)
}

func (r *recorder) Upgrades(_ context.Context, name string) ([]supervisor.Upgrade, error) {
	return r.upgrades, r.record(name)
}

func (r *recorder) WatchEvents(ctx context.Context, name string, after int64, follow bool, fn func(supervisor.Event) error) error {
	if err := r.record([]any{name, after, follow}); err != nil {
		return err
	}
	for _, e := range r.events {
		if err := fn(e); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (r *recorder) Watch(ctx context.Context, name string, interval time.Duration, fn func(supervisor.Status, string) error) error {
	if err := r.record([]any{name, interval}); err != nil {
		return err
	}
	if err := fn(r.status, ""); err != nil {
		return err
	}
	if err := fn(supervisor.Status{}, "gone"); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (r *recorder) ClaimRollout(_ context.Context, q supervisor.ClaimRequest) (supervisor.Rollout, []byte, error) {
	return r.rollout, []byte("all of it"), r.record(q)
}

func (r *recorder) RenewRollout(_ context.Context, service string, d claim.Driver) (supervisor.Rollout, error) {
	return r.rollout, r.record([]any{service, d})
}

func (r *recorder) EndLease(_ context.Context, service string, d claim.Driver) (supervisor.Rollout, error) {
	return r.rollout, r.record([]any{"end", service, d})
}

func (r *recorder) AdvanceRollout(_ context.Context, q supervisor.AdvanceRequest) (supervisor.Rollout, error) {
	return r.rollout, r.record(q)
}

func (r *recorder) ControlRollout(_ context.Context, service, rollout string, w claim.Word) (supervisor.Rollout, bool, error) {
	return r.rollout, true, r.record([]any{service, rollout, w})
}

func (r *recorder) ReleaseRollout(_ context.Context, service string, d claim.Driver, ending string) (supervisor.Rollout, error) {
	return r.rollout, r.record([]any{service, d, ending})
}

func (r *recorder) GetRollout(_ context.Context, service, rollout string) (supervisor.Rollout, []byte, error) {
	return r.rollout, []byte("all of it"), r.record([]any{service, rollout})
}

func (r *recorder) Rollouts(_ context.Context, service string) ([]supervisor.Rollout, error) {
	return []supervisor.Rollout{{Service: "web"}, {Service: "other"}}, r.record(service)
}

func (r *recorder) WatchRollout(_ context.Context, service, rollout string, _ time.Duration, fn func(supervisor.Rollout) error) error {
	if err := r.record([]any{service, rollout}); err != nil {
		return err
	}
	return fn(r.rollout)
}

func (r *recorder) Freeze(by supervisor.Caller) (supervisor.Freeze, error) {
	return supervisor.Freeze{Actor: by.Actor, Reason: by.Comment}, r.record(by)
}

func (r *recorder) Unfreeze(by supervisor.Caller) (*supervisor.Freeze, error) {
	return nil, r.record(by)
}

func (r *recorder) Frozen() *supervisor.Freeze { return r.frozen }

func (r *recorder) ArtifactUsers(digest string) []string { return r.users[digest] }

// host is a server on a real socket with a real store.
type host struct {
	supervisor *recorder
	store      *store.Store
	audit      *audit.Log
	server     *Server
	socket     string
	remote     *Remote // before it serves
	conn       *grpc.ClientConn
	stop       func() error // once; waits for the end
}

func newHost(t testing.TB, change ...func(*Server)) *host {
	t.Helper()
	return newHostAt(t, nil, change...)
}

func newHostAt(t testing.TB, remote *Remote, change ...func(*Server)) *host {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "state"), store.Options{Reserve: -1, UploadLimit: 128 << 20})
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit"), audit.Options{MaxBytes: 16 << 10, Keep: 1000})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{audit: log, supervisor: &recorder{users: map[string][]string{}}, store: st, socket: filepath.Join(t.TempDir(), "s"), remote: remote}
	h.server = New(Options{
		Supervisor: h.supervisor, Store: st, Fetcher: fetch.New(st, "v1", &fetch.Policy{}), Audit: log, Log: hclog.NewNullLogger(),
		Info: func() Info {
			return Info{Host: "h\xff", Version: "v1", PID: 7, Capabilities: []Capability{{Name: "x"}}}
		},
		Policy: &access.Policy{TrustDomain: "example.org"},
	})
	for _, c := range change {
		c(h.server)
	}
	l, err := net.Listen("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(ctx, l, h.remote) }()
	h.stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	h.conn = h.dial(t)
	t.Cleanup(func() {
		h.conn.Close()
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		if err := errors.Join(st.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *host) dial(t testing.TB, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := api.Dial("unix:"+h.socket, options...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (h *host) services() pb.SupervisorServiceClient { return pb.NewSupervisorServiceClient(h.conn) }
func (h *host) upgrades() pb.UpgradeServiceClient    { return pb.NewUpgradeServiceClient(h.conn) }
func (h *host) rollouts() pb.RolloutServiceClient    { return pb.NewRolloutServiceClient(h.conn) }
func (h *host) artifacts() pb.ArtifactServiceClient  { return pb.NewArtifactServiceClient(h.conn) }

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantError(t *testing.T, err error, code codes.Code, reason pb.Reason) *api.Error {
	t.Helper()
	e := api.FromStatus(err)
	if e == nil || e.Code != code || e.Reason != reason {
		t.Fatalf("got %+v, want %v %v", e, code, reason)
	}
	return e
}

func wantViolation(t *testing.T, err error, field string) {
	t.Helper()
	e := wantError(t, err, codes.InvalidArgument, pb.Reason_REASON_INVALID)
	for _, v := range e.Violations {
		if v.Field == field && v.Reason != "" {
			return
		}
	}
	t.Fatalf("no violation of %s: %+v", field, e.Violations)
}
