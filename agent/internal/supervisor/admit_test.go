package supervisor

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/signatures"
	"github.com/gracefleet/gracefleet/internal/statement"
)

var (
	noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	root = Caller{Actor: "root", Root: true}
)

func artifact(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// signedHost is a supervisor whose service web runs signed artifacts alone.
type signedHost struct {
	*Supervisor
	t   *testing.T
	key minisign.PrivateKey
	id  string
}

func newSignedHost(t *testing.T) *signedHost {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &signedHost{Supervisor: New(nil, nil, hclog.NewNullLogger()), t: t, key: private, id: statement.FormatKey(public.ID())}
	t.Cleanup(h.Close)
	h.trust(signatures.Key{Key: public.String()})
	return h
}

func (h *signedHost) trust(keys ...signatures.Key) {
	h.t.Helper()
	p, err := signatures.New([]string{"web"}, keys, "linux/amd64")
	if err != nil {
		h.t.Fatal(err)
	}
	h.SetSignatures(p)
}

func (h *signedHost) sign(artifact string, release int64) []byte {
	h.t.Helper()
	signed, err := statement.Sign(statement.Statement{
		Service: "web", Platform: "linux/amd64", Artifact: artifact, Release: release, Expires: noon.Add(time.Hour),
	}, h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	return signed.File()
}

// running is the record of a service whose first generation runs an artifact.
func running(runs string) record {
	r := record{Name: "web", Spec: service.Spec{Name: "web", Artifact: runs}.WithDefaults()}
	r.State.Generations = []lifecycle.Generation{{Number: 1, State: lifecycle.Active}}
	r.State.Promoted = 1
	r.Generations = []pastGeneration{{Number: 1, Artifact: runs, Good: true}}
	return r
}

func TestAdmit(t *testing.T) {
	h := newSignedHost(t)
	old, next := artifact("a"), artifact("b")
	stopped := running(old)
	stopped.State.Generations, stopped.State.Halted = nil, true
	adopted := running(old)
	adopted.Generations[0].External = &External{PID: 7}
	replaced := running(old)
	replaced.Generations[0].External = &External{PID: 7, Replaced: true}
	proven := running(old)
	proven.Floor = 42
	recorded := running(old)
	recorded.Spec.Artifact, recorded.Signature = next, h.sign(next, 42)
	unsigned := recorded
	unsigned.Signature = nil
	kept := running(next)
	kept.Generations = append(kept.Generations, pastGeneration{Number: 2, Artifact: old, Good: true, Spec: &service.Spec{Artifact: old}})
	onHost := running("host:/bin/x")
	other := running(old)
	other.Name = "api"
	for name, row := range map[string]struct {
		rec      record
		artifact string
		brought  Signing
		at       time.Time
		want     int64 // release
		err      error
	}{
		"what runs":                          {running(old), old, Signing{}, noon, 0, nil},
		"what would run after a start":       {stopped, old, Signing{}, noon, 0, nil},
		"something else":                     {running(old), next, Signing{}, noon, 0, ErrSignatureRequired},
		"something else, signed":             {running(old), next, Signing{Signature: h.sign(next, 42)}, noon, 42, nil},
		"signed, and late":                   {running(old), next, Signing{Signature: h.sign(next, 42)}, noon.Add(2 * time.Hour), 0, ErrSignatureRefused},
		"another one's signature":            {running(old), next, Signing{Signature: h.sign(old, 42)}, noon, 0, ErrSignatureRefused},
		"what somebody adopted":              {adopted, old, Signing{}, noon, 0, ErrSignatureRequired},
		"what took its place":                {replaced, old, Signing{}, noon, 0, nil},
		"an earlier one that is kept":        {kept, old, Signing{}, noon, 0, ErrSignatureRequired},
		"of the first time":                  {record{Name: "web"}, old, Signing{}, noon, 0, ErrSignatureRequired},
		"of the first time, signed":          {record{Name: "web"}, old, Signing{Signature: h.sign(old, 1)}, noon, 1, nil},
		"recorded with its signature":        {recorded, next, Signing{}, noon, 42, nil},
		"recorded with one that has expired": {recorded, next, Signing{}, noon.Add(2 * time.Hour), 0, ErrSignatureRefused},
		"recorded without":                   {unsigned, next, Signing{}, noon, 0, ErrSignatureRequired},
		"not what the signature is of":       {recorded, artifact("c"), Signing{}, noon, 0, ErrSignatureRequired},
		"the host's own":                     {running(old), "host:/bin/x", Signing{Signature: h.sign(old, 42)}, noon, 0, ErrSignatureRequired},
		"the host's own that runs":           {onHost, "host:/bin/x", Signing{}, noon, 0, ErrSignatureRequired},
		"the floor":                          {proven, next, Signing{Signature: h.sign(next, 42)}, noon, 42, nil},
		"below the floor":                    {proven, next, Signing{Signature: h.sign(next, 41)}, noon, 0, ErrReleaseBelowFloor},
		"below the floor, in an emergency":   {proven, next, Signing{Signature: h.sign(next, 41), BreakGlass: true}, noon, 41, nil},
		"unsigned, in an emergency":          {proven, next, Signing{BreakGlass: true}, noon, 0, ErrSignatureRequired},
		"forged, in an emergency":            {proven, next, Signing{Signature: []byte("x"), BreakGlass: true}, noon, 0, ErrSignatureRefused},
		"where none is required":             {other, next, Signing{}, noon, 0, nil},
		"one that is not asked for":          {other, next, Signing{Signature: h.sign(next, 42)}, noon, 0, nil},
	} {
		adm, err := h.admit(&row.rec, service.Spec{Name: row.rec.Name, Artifact: row.artifact}, row.brought, row.at)
		if !errors.Is(err, row.err) || (err == nil) != (row.err == nil) {
			t.Errorf("%s: %v, want %v", name, err, row.err)
			continue
		}
		if adm.Number != row.want || (row.want != 0) != (adm.Key == h.id) || adm.brokeGlass != (row.want == 41) {
			t.Errorf("%s: let in as %+v, want release %d", name, adm, row.want)
		}
	}
}

// A restart is the release that it restarts.
func TestAReleaseStaysOne(t *testing.T) {
	h := newSignedHost(t)
	rec := running(artifact("a"))
	rec.Generations[0].Release = Release{Number: 42, Key: h.id}
	h.trust() // and whose signature it was need not count any more
	adm, err := h.admit(&rec, rec.Spec, Signing{}, noon)
	if err != nil || adm.Release != rec.Generations[0].Release {
		t.Errorf("%+v, %v", adm, err)
	}
}

func TestKeysThatAreTakenAway(t *testing.T) {
	h := newSignedHost(t)
	rec := running(artifact("a"))
	next := service.Spec{Name: "web", Artifact: artifact("b")}
	with := Signing{Signature: h.sign(next.Artifact, 1)}
	if _, err := h.admit(&rec, next, with, noon); err != nil {
		t.Fatal(err)
	}
	h.trust()
	if _, err := h.admit(&rec, next, with, noon); !errors.Is(err, ErrSignatureRefused) {
		t.Errorf("a key that was taken away still counts: %v", err)
	}
}

// A signature is worth nothing when its bytes are what a command of another's choice
// is given.
func TestWhoMayDeclareWhatRuns(t *testing.T) {
	h := newSignedHost(t)
	rec := running(artifact("a"))
	alice := Caller{Actor: "admin/alice"}
	for name, row := range map[string]struct {
		by     Caller
		change func(*service.Spec)
		ok     bool
	}{
		"nothing":                      {alice, func(*service.Spec) {}, true},
		"an artifact":                  {alice, func(s *service.Spec) { s.Artifact = artifact("b") }, true},
		"a policy":                     {alice, func(s *service.Spec) { s.Drain.Timeout++ }, true},
		"a command":                    {alice, func(s *service.Spec) { s.Command = []string{"/bin/sh", "-c", "id"} }, false},
		"a library":                    {alice, func(s *service.Spec) { s.Env = map[string]string{"LD_PRELOAD": "{file:x.so}"} }, false},
		"a check that runs commands":   {alice, func(s *service.Spec) { s.Upgrade.Check = &service.Check{} }, false},
		"a command, by the host's own": {root, func(s *service.Spec) { s.Command = []string{"/bin/sh", "-c", "id"} }, true},
	} {
		spec := rec.Spec
		row.change(&spec)
		err := h.mayDeclare(&rec, spec, row.by)
		if (err == nil) != row.ok || err != nil && !errors.Is(err, ErrNotRoot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.mayDeclare(&record{Name: "web"}, rec.Spec, alice); !errors.Is(err, ErrNotRoot) {
		t.Errorf("a new service: %v", err)
	}
	if err := h.mayDeclare(&record{Name: "api"}, rec.Spec, alice); err != nil {
		t.Errorf("where no signature is required: %v", err)
	}
}

// To record again what waits for its upgrade needs no signature; to record something
// else does.
func TestAdmitDeclared(t *testing.T) {
	h := newSignedHost(t)
	waiting := running(artifact("a"))
	waiting.Spec.Artifact, waiting.Signature = artifact("b"), h.sign(artifact("b"), 42)
	late := noon.Add(2 * time.Hour)
	adm, err := h.admitDeclared(&waiting, waiting.Spec, root, Signing{}, late)
	if err != nil || string(adm.signature) != string(waiting.Signature) {
		t.Errorf("the same again: %+v, %v", adm, err)
	}
	spec := waiting.Spec
	spec.Artifact = artifact("c")
	if _, err := h.admitDeclared(&waiting, spec, root, Signing{}, noon); !errors.Is(err, ErrSignatureRequired) {
		t.Errorf("another artifact: %v", err)
	}
	unborn := record{Name: "web", Spec: waiting.Spec, Signature: waiting.Signature}
	if _, err := h.admitDeclared(&unborn, waiting.Spec, root, Signing{}, late); !errors.Is(err, ErrSignatureRefused) {
		t.Errorf("a first generation by a signature that has expired: %v", err)
	}
}

// shelf keeps records in memory.
type shelf map[string][]byte

func (s shelf) WriteRecord(name string, data []byte) error { s[name] = data; return nil }
func (s shelf) SyncRecord(string) error                    { return nil }
func (s shelf) DeleteRecord(name string) error             { delete(s, name); return nil }
func (s shelf) WriteRollout([]byte) (string, error)        { return "", nil }
func (s shelf) ReadRollout(string) ([]byte, error)         { return nil, nil }
func (s shelf) KeepRollouts(map[string]bool) error         { return nil }
func (s shelf) WriteFreeze([]byte) error                   { return nil }
func (s shelf) ReadFreeze() ([]byte, error)                { return nil, nil }

// The floor outlives the service and the agent.
func TestFloorOfADeletedService(t *testing.T) {
	kept := shelf{"api": nil}
	s := New(nil, kept, hclog.NewNullLogger())
	defer s.Close()
	if err := errors.Join(s.forget("web", 42), s.forget("api", 0)); err != nil {
		t.Fatal(err)
	}
	if s.floor("web") != 42 || len(kept) != 1 {
		t.Errorf("kept are %d records and the floor %d", len(kept), s.floor("web"))
	}
	next := New(nil, kept, hclog.NewNullLogger())
	defer next.Close()
	if problems := next.Restore(t.Context(), kept); len(problems) > 0 {
		t.Error(problems)
	}
	if services, err := next.List(t.Context()); err != nil || len(services) > 0 {
		t.Errorf("a deleted service is back: %v, %v", services, err)
	}
	if got := next.floor("web"); got != 42 {
		t.Errorf("after a restart the floor is %d", got)
	}
}

// What older agents wrote down of a request is what this one makes of it.
func TestDigestsOfRequestsStay(t *testing.T) {
	for _, request := range []any{ApplyRequest{}, AdoptRequest{}, UpgradeRequest{}, RollbackRequest{}, ServiceCommand{}} {
		raw, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(raw); strings.Contains(text, "Signature") || strings.Contains(text, "BreakGlass") || strings.Contains(text, "Root") {
			t.Errorf("%T: %s", request, text)
		}
	}
}
