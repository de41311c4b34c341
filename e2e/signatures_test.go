//go:build linux

package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
	"github.com/gracefleet/gracefleet/internal/statement"
)

// release is somebody who signs, with a key that has no password.
type release struct {
	t      testing.TB
	dir    string
	public minisign.PublicKey
	secret minisign.PrivateKey
	files  int
}

func newRelease(t testing.TB) *release {
	t.Helper()
	public, secret, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &release{t: t, dir: t.TempDir(), public: public, secret: secret}
	text, err := secret.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	r.write("release.key", text)
	return r
}

func (r *release) write(name string, data []byte) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// sign signs a program as a release of the service web, or what change makes of that,
// and returns the file.
func (r *release) sign(program string, number int64, change func(*statement.Statement)) string {
	r.t.Helper()
	s := statement.Statement{
		Service: "web", Platform: "linux/" + runtime.GOARCH, Artifact: harness.Digest(r.t, program), Release: number,
		Expires: time.Now().Add(time.Hour).UTC(),
	}
	if change != nil {
		change(&s)
	}
	signed, err := statement.Sign(s, r.secret)
	if err != nil {
		r.t.Fatal(err)
	}
	r.files++
	return r.write(fmt.Sprintf("%d.signature", r.files), signed.File())
}

// signedService is a service web, not applied yet, on a host whose configuration the
// test writes.
type signedService struct {
	*service
	config string
}

func newSignedService(t *testing.T, config string, flags ...string) *signedService {
	t.Helper()
	s := &signedService{config: filepath.Join(t.TempDir(), "graced.yaml")}
	s.configure(t, config)
	s.service = &service{Agent: harness.Start(t, append(flags, "--config", s.config)...), t: t, folder: "runtime"}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.spec = strings.ReplaceAll(signalDrain, "ADDRESS", "tcp://"+s.address)
	return s
}

func (s *signedService) configure(t testing.TB, text string) {
	t.Helper()
	next := s.config + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, s.config); err != nil {
		t.Fatal(err)
	}
}

// requires is a configuration that takes the signatures of some keys alone.
func requires(by ...*release) string {
	text := "require_signature: [web]\nsigning_keys:\n"
	for _, r := range by {
		text += "  - key: " + r.public.String() + "\n"
	}
	return text
}

// until repeats a command until it ends with a code and says something: what was
// changed on disk holds within seconds.
func (s *signedService) until(code int, words string, args ...string) {
	s.t.Helper()
	for limit := time.Now().Add(awaitLimit); ; time.Sleep(100 * time.Millisecond) {
		r := s.Ctl(s.t, args...)
		if r.Code == code && strings.Contains(r.Stderr, words) {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("want exit code %d and %q: %v", code, words, r)
		}
	}
}

// refused runs what must be refused, and change nothing.
func (s *signedService) refused(words string, args ...string) {
	s.t.Helper()
	before := s.Status(s.t, "web")
	if r := s.Ctl(s.t, args...); r.Code != 1 || !strings.Contains(r.Stderr, words) {
		s.t.Errorf("want %q: %v", words, r)
	}
	after := s.Status(s.t, "web")
	if harness.Active(after).GetPid() != harness.Active(before).GetPid() || after.GetUpgrade().GetId() != before.GetUpgrade().GetId() ||
		after.GetService().GetEtag() != before.GetService().GetEtag() || len(after.GetGenerations()) != len(before.GetGenerations()) {
		s.t.Errorf("%v has changed something:\n%v\n%v", args, before, after)
	}
}

// first runs the first generation as a release.
func (s *signedService) first(r *release, number int64) {
	s.t.Helper()
	s.CtlOK(s.t, "apply", "-f", s.Spec(s.t, s.yaml("v1")), "--signature", r.sign(harness.Program(s.t, s.folder, "v1"), number, nil))
	s.await(1, pb.Generation_STATE_ACTIVE)
}

// Nothing else runs as a service of signed artifacts, whoever asks.
func TestSignedArtifactsAlone(t *testing.T) {
	t.Parallel()
	ours, stranger := newRelease(t), newRelease(t)
	s := newSignedService(t, requires(ours))
	if r := s.Ctl(t, "apply", "-f", s.Spec(t, s.yaml("v1"))); r.Code != 1 || !strings.Contains(r.Stderr, "a signed artifact is required") {
		t.Fatalf("a first generation without a signature: %v", r)
	}
	if r := s.Ctl(t, "status", "web"); r.Code != 1 {
		t.Errorf("it has made a service: %v", r)
	}
	s.first(ours, 42)
	v2, v3 := harness.Program(t, s.folder, "v2"), harness.Program(t, s.folder, "v3")
	s.CtlOK(t, "push", v2)
	for words, args := range map[string][]string{
		"is not among the signing_keys":     {v2, "--signature", stranger.sign(v2, 43, nil)},
		"it expired on":                     {v2, "--signature", ours.sign(v2, 43, func(s *statement.Statement) { s.Expires = time.Now().Add(-time.Second).UTC() })},
		`it is for the service "api"`:       {v2, "--signature", ours.sign(v2, 43, func(s *statement.Statement) { s.Service = "api" })},
		"it is for linux/mips, this is":     {v2, "--signature", ours.sign(v2, 43, func(s *statement.Statement) { s.Platform = "linux/mips" })},
		"it is for the artifact sha256:":    {v2, "--signature", ours.sign(v3, 43, nil)},
		"release 41, and 42 was":            {v2, "--signature", ours.sign(v2, 41, nil)},
		"no statement with a minisign":      {v2, "--signature", s.Spec(t, "signed, believe me")},
		"a signed artifact is required":     {v2},
		"a signed artifact is required: s":  {"--artifact", harness.Digest(t, v2)},
		"nobody can have signed it":         {"--artifact", "host:/bin/sh", "--signature", ours.sign(v2, 43, nil)},
		"a signed artifact is required: se": {"-f", s.Spec(t, s.yaml("v2"))},
	} {
		s.refused(words, append([]string{"upgrade", "web"}, args...)...)
		s.refused(words, append([]string{"upgrade", "web", "--dry-run"}, args...)...)
	}
	s.refused("a signed artifact is required", "apply", "-f", s.Spec(t, s.yaml("v2")))

	// The file beside an artifact goes along by itself.
	beside := filepath.Join(t.TempDir(), "web-v2")
	copyFile(t, v2, beside)
	s.CtlOK(t, "sign", beside, "--service", "web", "--release", "43", "--key", filepath.Join(ours.dir, "release.key"))
	s.CtlOK(t, "upgrade", "web", beside)
	if g := s.await(2, pb.Generation_STATE_ACTIVE); g.GetRelease() != 43 || g.GetSigningKey() != statement.FormatKey(ours.public.ID()) {
		t.Errorf("generation 2 is %v", g)
	}
	if st := s.CtlOK(t, "status", "web"); !strings.Contains(st, "signed artifacts alone, from release 43 on") || !strings.Contains(st, "release 43, key ") {
		t.Errorf("the status is\n%s", st)
	}
	if h := s.CtlOK(t, "history", "web", "-o", "json"); !strings.Contains(h, `"release": 43`) {
		t.Errorf("the history is\n%s", h)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What nobody has signed is not even unpacked.
func TestAnUnsignedArchiveStaysShut(t *testing.T) {
	t.Parallel()
	ours := newRelease(t)
	s := newSignedService(t, requires(ours))
	s.first(ours, 42)
	tree := filepath.Join(t.TempDir(), "app.tar.gz")
	if out, err := exec.Command("tar", "-czf", tree, "-C", filepath.Dir(harness.Program(t, s.folder, "v1")), filepath.Base(harness.Program(t, s.folder, "v1"))).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	stored := func() (names []string) {
		names, err := filepath.Glob(filepath.Join(s.Dir, "s", "artifacts", strings.TrimPrefix(harness.Digest(t, tree), "sha256:"), "*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	s.CtlOK(t, "push", tree)
	before := stored()
	if s.refused("a signed artifact is required", "upgrade", "web", tree); len(before) == 0 || len(stored()) != len(before) {
		t.Errorf("of the archive there was %v, and there is %v", before, stored())
	}
}

// What serves goes on, and goes back, without anybody's signature; forward there is
// no way below what was promoted.
func TestReleasesGoForward(t *testing.T) {
	t.Parallel()
	ours := newRelease(t)
	s := newSignedService(t, requires(ours))
	s.first(ours, 42)
	v1, v2, v3 := harness.Program(t, s.folder, "v1"), harness.Program(t, s.folder, "v2"), harness.Program(t, s.folder, "v3")

	// A release that proves nothing closes no way.
	s.CtlOK(t, "upgrade", "web", v2, "--signature", ours.sign(v2, 50, nil), "--soak", "1h", "--wait", "none")
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	s.CtlOK(t, "abort", "web")
	if floor := s.Status(t, "web").GetService().GetReleaseFloor(); floor != 42 {
		t.Errorf("after an upgrade that was aborted the floor is %d", floor)
	}
	s.CtlOK(t, "upgrade", "web", v2, "--signature", ours.sign(v2, 43, nil))
	s.CtlOK(t, "restart", "web")
	l := s.load(rate(), rate(), nil)
	answered(t, l, 20)
	s.CtlOK(t, "rollback", "web", "--to", "1")
	answered(t, l, 20)
	unharmed(t, l)
	if g := harness.Active(s.Status(t, "web")); g.GetRelease() != 42 {
		t.Errorf("after a rollback release %d runs", g.GetRelease())
	}
	s.CtlOK(t, "restart", "web")
	s.CtlOK(t, "stop", "web")
	s.CtlOK(t, "start", "web")
	s.refused("a signed artifact is required", "upgrade", "web", v2)
	old := ours.sign(v3, 42, nil)
	s.refused("release 42, and 43 was", "upgrade", "web", v3, "--signature", old)

	// The floor is the host's, not the agent's nor the service's.
	s.Kill9(t)
	s.Restart(t)
	s.refused("release 42, and 43 was", "upgrade", "web", v3, "--signature", old)
	s.CtlOK(t, "stop", "web", "--now")
	s.CtlOK(t, "delete", "-y", "web")
	s.Restart(t)
	apply := []string{"apply", "-f", s.Spec(t, s.yaml("v1")), "--signature", ours.sign(v1, 42, nil)}
	if r := s.Ctl(t, apply...); r.Code != 1 || !strings.Contains(r.Stderr, "release 42, and 43 was") {
		t.Errorf("a new service of the name: %v", r)
	}

	// In an emergency there is a way, and it says why.
	if r := s.Ctl(t, append(apply, "--break-glass")...); r.Code != 2 {
		t.Errorf("the glass is broken without a reason: %v", r)
	}
	s.CtlOK(t, append(apply, "--break-glass", "-m", "43 corrupts orders")...)
	s.await(1, pb.Generation_STATE_ACTIVE)
	if h := s.CtlOK(t, "history", "web"); !strings.Contains(h, "release 42, key ") || !strings.Contains(h, "the glass was broken") || !strings.Contains(h, "43 corrupts orders") {
		t.Errorf("the history is\n%s", h)
	}
	if floor := s.Status(t, "web").GetService().GetReleaseFloor(); floor != 43 {
		t.Errorf("the floor has sunk to %d", floor)
	}
	s.CtlOK(t, "upgrade", "web", v3, "--signature", ours.sign(v3, 43, nil))
}

// A key takes over from another: both count for a while, and the old one not a moment
// longer than the file says.
func TestSigningKeysRotate(t *testing.T) {
	t.Parallel()
	old, young := newRelease(t), newRelease(t)
	s := newSignedService(t, requires(old))
	s.first(old, 1)
	v2, v3 := harness.Program(t, s.folder, "v2"), harness.Program(t, s.folder, "v3")
	byOld, byYoung := old.sign(v2, 2, nil), young.sign(v3, 3, nil)
	s.refused("is not among the signing_keys", "upgrade", "web", v3, "--signature", byYoung)
	s.configure(t, requires(old, young))
	s.until(3, "", "upgrade", "web", v3, "--signature", byYoung, "--dry-run")
	s.CtlOK(t, "upgrade", "web", v2, "--signature", byOld)
	late := old.sign(v3, 3, nil)
	s.configure(t, requires(young))
	s.until(1, "is not among the signing_keys", "upgrade", "web", v3, "--signature", late, "--dry-run")
	s.refused("is not among the signing_keys", "upgrade", "web", v3, "--signature", late)
	s.CtlOK(t, "restart", "web") // what runs is not questioned
	s.CtlOK(t, "upgrade", "web", v3, "--signature", byYoung)
	s.configure(t, "require_signature: [web]\n")
	s.until(1, "is not among the signing_keys", "upgrade", "web", v2, "--signature", young.sign(v2, 4, nil), "--dry-run")
}

// What was recorded while nothing was required waits for a signature like everything
// else; what was recorded with one needs none again.
func TestRecordedArtifacts(t *testing.T) {
	t.Parallel()
	ours := newRelease(t)
	s := newSignedService(t, "")
	s.Apply(t, s.yaml("v1"))
	s.await(1, pb.Generation_STATE_ACTIVE)
	v2, v3 := harness.Program(t, s.folder, "v2"), harness.Program(t, s.folder, "v3")
	s.CtlOK(t, "apply", "-f", s.Spec(t, s.yaml("v2")), "--signature", ours.sign(v2, 2, nil))
	s.configure(t, requires(ours))
	s.Await(t, "web", func(st *pb.ServiceStatus) bool { return st.GetService().GetRequiresSignature() }, awaitLimit)
	s.refused("a signed artifact is required", "upgrade", "web")
	s.CtlOK(t, "restart", "web")
	if g := harness.Active(s.Status(t, "web")); g.GetRelease() != 0 {
		t.Errorf("what was not signed is release %d", g.GetRelease())
	}
	s.CtlOK(t, "upgrade", "web", "--signature", ours.sign(v2, 2, nil))
	s.CtlOK(t, "apply", "-f", s.Spec(t, s.yaml("v3")), "--signature", ours.sign(v3, 3, nil))
	s.Kill9(t)
	s.Restart(t)
	s.CtlOK(t, "upgrade", "web")
	if g := harness.Active(s.Status(t, "web")); g.GetRelease() != 3 {
		t.Errorf("the recorded artifact is release %d", g.GetRelease())
	}
	// A key that has gone takes with it what waits.
	v4 := harness.Program(t, s.folder, "v4")
	s.CtlOK(t, "apply", "-f", s.Spec(t, s.yaml("v4")), "--signature", ours.sign(v4, 4, nil))
	s.configure(t, requires(newRelease(t)))
	s.until(1, "is not among the signing_keys", "upgrade", "web", "--dry-run")
	s.refused("is not among the signing_keys", "upgrade", "web")
}

// A program may be taken over by root as it is; what the agent would start in its
// place is signed, and so is its successor.
func TestAdoptedProgramsGetSignedSuccessors(t *testing.T) {
	t.Parallel()
	harness.Need(t, os.Geteuid() == 0, "taking a program over needs root")
	ours := newRelease(t)
	s := newSignedService(t, requires(ours))
	s.folder = "plain"
	s.spec = strings.ReplaceAll(adoptable, "ADDRESS", "tcp://"+s.address)
	l := s.startLegacy(t, harness.Program(t, "plain", "old"), "-listen", "ADDRESS")
	adopt := []string{"adopt", "-f", s.Spec(t, s.yaml("v1")), "--pid", strconv.Itoa(l.Process.Pid)}
	if r := s.Ctl(t, adopt...); r.Code != 1 || !strings.Contains(r.Stderr, "a signed artifact is required") || !l.alive() {
		t.Fatalf("adopted with an unsigned artifact: %v", r)
	}
	s.CtlOK(t, append(adopt, "--signature", ours.sign(harness.Program(t, "plain", "v1"), 7, nil))...)
	if floor := s.Status(t, "web").GetService().GetReleaseFloor(); floor != 0 {
		t.Errorf("a program that nobody has signed made the floor %d", floor)
	}
	s.refused("a signed artifact is required", "upgrade", "web", harness.Program(t, "plain", "v2"))
	s.CtlOK(t, "upgrade", "web")
	if g := s.await(2, pb.Generation_STATE_ACTIVE); g.GetRelease() != 7 {
		t.Errorf("the successor is release %d", g.GetRelease())
	}
}

// Whoever has only the API can neither lift the requirement nor go around it, with
// whatever certificate.
func TestNoWayAroundSignatures(t *testing.T) {
	t.Parallel()
	ours := newRelease(t)
	ca := certstest.NewCA(t)
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s := newSignedService(t, requires(ours), listening(address, ca.Agent("web-1"))...)
	admin := &remote{Agent: s.Agent, t: t, address: address, files: ca.ClientFiles("admin", "eve")}
	ci := &remote{Agent: s.Agent, t: t, address: address, files: ca.ClientFiles("operator", "ci")}
	v1, v2 := harness.Program(t, s.folder, "v1"), harness.Program(t, s.folder, "v2")
	if r := admin.try("apply", "-f", s.Spec(t, s.yaml("v1")), "--signature", ours.sign(v1, 1, nil)); r.Code != 1 || !strings.Contains(r.Stderr, "this is for root of the host") {
		t.Errorf("somebody elsewhere chose what runs a signed artifact: %v", r)
	}
	s.first(ours, 1)
	for _, change := range []string{"env: {LD_PRELOAD: /tmp/x.so}\n", "command: [/bin/sh, -c, id, '{artifact}']\n", "args: [-x]\n", "user: nobody\n", "preset: nginx\n"} {
		file := s.Spec(t, strings.Replace(s.yaml("v1"), "\n", "\n"+change, 1))
		for _, args := range [][]string{{"apply", "-f", file}, {"upgrade", "web", "-f", file}} {
			if r := admin.try(args...); r.Code != 1 || !strings.Contains(r.Stderr, "this is for root of the host") {
				t.Errorf("%q: %v", change, r)
			}
		}
	}
	signed := ours.sign(v2, 2, nil)
	if r := ci.try("upgrade", "web", v2); r.Code != 1 || !strings.Contains(r.Stderr, "a signed artifact is required") {
		t.Errorf("an unsigned artifact: %v", r)
	}
	ci.ok("upgrade", "web", v2, "--signature", signed)
	if r := ci.try("upgrade", "web", v1, "--signature", ours.sign(v1, 1, nil), "--break-glass", "-m", "I want to"); r.Code != 1 || !strings.Contains(r.Stderr, "lacks the permission admin") {
		t.Errorf("an operator broke the glass: %v", r)
	}
	admin.ok("apply", "-f", s.Spec(t, strings.Replace(s.yaml("v2"), "soak: 0s", "soak: 1ms", 1)))
	admin.ok("upgrade", "web", v1, "--signature", ours.sign(v1, 1, nil), "--break-glass", "-m", "2 corrupts orders")
	if g := harness.Active(s.Status(t, "web")); g.GetRelease() != 1 {
		t.Errorf("release %d runs", g.GetRelease())
	}
	_, err := s.upgrades().StartUpgrade(t.Context(), &pb.StartUpgradeRequest{Service: "web", Artifact: harness.Digest(t, v2)})
	if got := api.ReasonOf(err); got != pb.Reason_REASON_SIGNATURE_REQUIRED {
		t.Errorf("the reason is %v", got)
	}
}

// Keys and signatures of the stock minisign count, in both of its forms.
func TestSignedByMinisign(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("minisign")
	harness.Need(t, err == nil, "minisign is not installed")
	dir := t.TempDir()
	stock := func(args ...string) {
		t.Helper()
		cmd := exec.Command(path, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("minisign %v: %v: %s", args, err, out)
		}
	}
	stock("-G", "-W", "-p", "stock.pub", "-s", "stock.key")
	public, err := os.ReadFile(filepath.Join(dir, "stock.pub"))
	if err != nil {
		t.Fatal(err)
	}
	key := strings.Split(string(public), "\n")[1]
	s := newSignedService(t, "require_signature: [web]\nsigning_keys: [{key: "+key+"}]\n")
	program := filepath.Join(dir, "web")
	copyFile(t, harness.Program(t, s.folder, "v1"), program)
	sign := func(release string, how ...string) {
		t.Helper()
		s.CtlOK(t, "sign", "statement", program, "--service", "web", "--release", release, "--public-key", filepath.Join(dir, "stock.pub"), "-y")
		stock(append([]string{"-S", "-W", "-s", "stock.key", "-m", "web.statement", "-c", "any", "-t", "any"}, how...)...)
		if out, err := exec.Command("sh", "-c", "cd "+dir+" && cat web.statement web.statement.minisig > web.signature").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	sign("1")
	s.CtlOK(t, "sign", "verify", program, "--public-key", key)
	s.CtlOK(t, "apply", "-f", s.Spec(t, "name: web\nartifact: "+program+"\n"+s.spec))
	s.await(1, pb.Generation_STATE_ACTIVE)
	copyFile(t, harness.Program(t, s.folder, "v2"), program+".next")
	if err := os.Rename(program+".next", program); err != nil {
		t.Fatal(err)
	}
	s.refused("it is for the artifact sha256:", "upgrade", "web", program)
	sign("2", "-l")
	s.CtlOK(t, "upgrade", "web", program)
	// And the other way about: minisign uses the keys of gracectl.
	s.CtlOK(t, "sign", program, "--service", "web", "--release", "3", "--key", filepath.Join(dir, "stock.key"), "-y")
	s.CtlOK(t, "sign", "verify", program, "--public-key", key)
}
