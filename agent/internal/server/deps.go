package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// Supervisor is what the server needs of the owner of all services. Its errors
// are the sentinels of package supervisor, *service.InvalidError, or have a
// method Metadata() map[string]string with details for programs.
type Supervisor interface {
	Apply(context.Context, supervisor.ApplyRequest) (supervisor.ApplyResult, error)
	Adopt(context.Context, supervisor.AdoptRequest) (supervisor.AdoptResult, error)
	Get(ctx context.Context, name string) (supervisor.Status, error)
	List(context.Context) ([]supervisor.Status, error)
	Stop(context.Context, supervisor.ServiceCommand) (supervisor.Status, error)
	Start(context.Context, supervisor.ServiceCommand) (supervisor.Status, error)
	Reload(context.Context, supervisor.ServiceCommand) (s supervisor.Status, confirmed bool, err error)
	Delete(context.Context, supervisor.ServiceCommand) error
	Generations(ctx context.Context, name string) ([]supervisor.Generation, error)

	Upgrade(context.Context, supervisor.UpgradeRequest) (supervisor.UpgradeResult, error)
	Rollback(context.Context, supervisor.RollbackRequest) (supervisor.UpgradeResult, error)
	Promote(context.Context, supervisor.UpgradeCommand) (supervisor.Upgrade, error)
	Abort(context.Context, supervisor.UpgradeCommand) (supervisor.Upgrade, error)
	// Upgrades are newest first.
	Upgrades(ctx context.Context, name string) ([]supervisor.Upgrade, error)

	ClaimRollout(context.Context, supervisor.ClaimRequest) (r supervisor.Rollout, spec []byte, err error)
	RenewRollout(ctx context.Context, service string, d claim.Driver) (supervisor.Rollout, error)
	EndLease(ctx context.Context, service string, d claim.Driver) (supervisor.Rollout, error)
	AdvanceRollout(context.Context, supervisor.AdvanceRequest) (supervisor.Rollout, error)
	ControlRollout(ctx context.Context, service, rollout string, w claim.Word) (r supervisor.Rollout, driven bool, err error)
	ReleaseRollout(ctx context.Context, service string, d claim.Driver, ending string) (supervisor.Rollout, error)
	GetRollout(ctx context.Context, service, rollout string) (r supervisor.Rollout, spec []byte, err error)
	// Rollouts are newest first.
	Rollouts(ctx context.Context, service string) ([]supervisor.Rollout, error)
	Freeze(supervisor.Caller) (supervisor.Freeze, error)
	Unfreeze(supervisor.Caller) (*supervisor.Freeze, error)
	Frozen() *supervisor.Freeze

	// WatchRollout is as Watch.
	WatchRollout(ctx context.Context, service, rollout string, interval time.Duration, fn func(supervisor.Rollout) error) error
	// WatchEvents and Watch call fn from the caller's goroutine; a slow fn holds
	// up nobody else. An error of fn ends them.
	WatchEvents(ctx context.Context, service string, after int64, follow bool, fn func(supervisor.Event) error) error
	Watch(ctx context.Context, name string, interval time.Duration, fn func(s supervisor.Status, deleted string) error) error

	// ArtifactUsers names the services with a kept generation of an artifact.
	ArtifactUsers(digest string) []string
}

// Certificates are the agent's for the network, and whose it takes.
type Certificates interface {
	// Config is that of a server: each handshake uses what holds then.
	Config() *tls.Config
	// Verify says whether a client's chain counts now.
	Verify(chain []*x509.Certificate) error
}

// Audit is what the server needs of the record of who did what; *audit.Log is one.
type Audit interface {
	Append(audit.Entry) (audit.Head, error)
	Read(ctx context.Context, after int64, fn func(line []byte, e audit.Entry) error) error
	Snapshot() (*audit.Snapshot, error)
	Damages() []*audit.Damage
	News() <-chan struct{}
}

// Store is what the server needs of the state directory; *store.Store is one.
type Store interface {
	BeginUpload(digest string, size int64, o store.UploadOptions) (u *store.Upload, committed int64, err error)
	UploadStatus(digest string) (store.UploadState, error)
	OpenBase(digest string, proof []byte) (*store.Base, error)
	OpenArtifact(digest string) (*os.File, error)
	GetArtifact(digest string) (store.Artifact, error)
	ListArtifacts() ([]store.Artifact, error)
	DeleteArtifact(digest string, inUse func(digest string) bool) error
	Tail(ctx context.Context, o store.TailOptions, emit func(store.Line) error) error
}

// Fetcher is what the server needs to have artifacts fetched; *fetch.Fetcher is one.
type Fetcher interface {
	Fetch(ctx context.Context, o fetch.Order, tell func(committed, size int64) error) (store.Artifact, error)
}

// Info describes the agent and its host.
type Info struct {
	Host         string
	Version      string
	StateID      string
	Platform     string // such as linux/amd64
	Kernel       string
	Started      time.Time
	PID          int
	Capabilities []Capability
	Degraded     []string
	StateDir     string
	RuntimeDir   string
	Network      *NetworkInfo // nil without one
}

// NetworkInfo describes the agent's place outside its host. Times that are not known
// are zero.
type NetworkInfo struct {
	Address                  string
	Identity, Serial, Issuer string
	NotBefore, NotAfter      time.Time
	CANotAfter               time.Time
	CRLNextUpdate            time.Time
	Renew                    string // empty when nobody renews
	RenewContact             time.Time
	RenewError               string
}

// Capability is one thing the agent uses where the host offers it.
type Capability struct {
	Name      string
	Available bool
	Detail    string
	Fallback  string
}
