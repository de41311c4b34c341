package ctl

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"aead.dev/minisign"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/needs"
	"github.com/gracefleet/gracefleet/internal/statement"
)

// desk is where somebody signs: a directory with an artifact and a key without a
// password. GRACECTL_AGENT names an agent that does not exist: nothing here may ask it.
type desk struct {
	dir, id string
	public  minisign.PublicKey
	env     map[string]string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{dir: t.TempDir()}
	d.env = map[string]string{"GRACECTL_AGENT": "unix:" + d.dir + "/nobody"}
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d.public, d.id = public, statement.FormatKey(public.ID())
	secret, err := private.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	d.put(t, "release.key", string(secret)+"\n")
	d.put(t, "release.pub", "untrusted comment: x\n"+public.String()+"\n")
	d.put(t, "web-v2", "#!/bin/sh\n")
	return d
}

func (d *desk) put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d *desk) get(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// run runs gracectl sign; DIR stands for the directory.
func (d *desk) run(t *testing.T, line string) ran {
	t.Helper()
	return gracectl(t, t.Context(), d.env, strings.Fields("sign "+strings.ReplaceAll(line, "DIR", d.dir))...)
}

func (d *desk) must(t *testing.T, line string) ran {
	t.Helper()
	r := d.run(t, line)
	if r.code != ExitDone {
		t.Fatalf("%s: exit %d: %s%s", line, r.code, r.out, r.err)
	}
	return r
}

var dateText = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`)

func (d *desk) plain(text string) string {
	return dateText.ReplaceAllString(strings.NewReplacer(d.dir, "DIR", d.id, "KEY").Replace(text), "TIME")
}

const asRelease42 = "DIR/web-v2 --service web --release 42 --platform linux/amd64"

func TestSignStory(t *testing.T) {
	d := newDesk(t)
	var text strings.Builder
	for _, line := range []string{
		asRelease42 + " --key DIR/release.key",
		"verify DIR/web-v2 --public-key DIR/release.pub",
		asRelease42 + " --key DIR/release.key --expires 12h -y",
		"statement " + asRelease42 + " --public-key DIR/release.pub",
	} {
		r := d.must(t, line)
		text.WriteString("$ gracectl sign " + line + "\n" + d.plain(r.out+r.err))
	}
	golden(t, "sign.txt", text.String())
	signed, err := statement.ParseSigned(d.get(t, "web-v2.signature"))
	if err != nil || signed.Verify(d.public) != nil || signed.Release != 42 {
		t.Errorf("it has signed %+v: %v", signed.Statement, err)
	}
	stated, err := statement.Parse(d.get(t, "web-v2.statement"))
	if err != nil || stated.Key != d.id || stated.Artifact != signed.Artifact {
		t.Errorf("the statement is %+v: %v", stated, err)
	}
}

// Each answer for programs is one object.
func TestSignObjects(t *testing.T) {
	d := newDesk(t)
	for _, line := range []string{
		asRelease42 + " --key DIR/release.key", "verify DIR/web-v2 --public-key " + d.public.String(), "statement " + asRelease42 + " --public-key DIR/release.pub",
	} {
		r := d.must(t, line+" -o json")
		var o struct {
			Service, Platform, Artifact, Key, Expires string
			Release                                   int64
		}
		if err := json.Unmarshal([]byte(r.out), &o); err != nil || o.Service != "web" || o.Release != 42 || o.Key != d.id || o.Expires == "" || r.err != "" {
			t.Errorf("%s: %v: %s%s", line, err, r.out, r.err)
		}
	}
}

func TestSignMisuse(t *testing.T) {
	d := newDesk(t)
	with := " --key DIR/release.key"
	for _, line := range []string{
		"", "DIR/web-v2", "DIR/web-v2 --service web --release 42", "DIR/web-v2 --service web" + with, "DIR/web-v2 --release 42" + with,
		strings.Replace(asRelease42, "42", "-1", 1) + with, strings.Replace(asRelease42, "42", "x", 1) + with,
		strings.Replace(asRelease42, "42", "9999999999999999", 1) + with, strings.Replace(asRelease42, "linux/amd64", "amd64", 1) + with,
		strings.Replace(asRelease42, "service web", "service Web", 1) + with, asRelease42 + with + " --expires 30", asRelease42 + with + " --expires 0s",
		asRelease42 + with + " more", "keygen", "keygen a b", "keygen DIR/other", "verify DIR/web-v2", "verify", "statement " + asRelease42, "statement",
	} {
		r := d.run(t, line)
		if r.code != ExitUsage || !strings.Contains(r.err, "hint: gracectl sign") || r.out != "" {
			t.Errorf("%q: exit %d: %s%s", line, r.code, r.out, r.err)
		}
	}
	if left, _ := filepath.Glob(d.dir + "/*"); len(left) != 3 {
		t.Errorf("files were made: %v", left)
	}
}

func TestSignFailures(t *testing.T) {
	d := newDesk(t)
	d.must(t, asRelease42+" --key DIR/release.key")
	d.put(t, "changed", "#!/bin/sh\nexit 1\n")
	d.put(t, "stranger.pub", strings.Replace(string(d.get(t, "release.pub")), d.public.String()[20:40], "AAAAAAAAAAAAAAAAAAAA", 1))
	d.put(t, "large", strings.Repeat("x", statement.MaxFile+1))
	verify := "verify DIR/web-v2 --public-key DIR/release.pub"
	for line, words := range map[string]string{
		"DIR/web-v2 --service web --release 42 --key DIR/release.key":                               "does not say on what it runs",
		asRelease42 + " --key DIR/none.key --out DIR/x":                                             "none.key: no such file",
		asRelease42 + " --key DIR/web-v2 --out DIR/x":                                               "is not a secret key",
		asRelease42 + " --key DIR/large --out DIR/x":                                                "more than 4096 bytes",
		strings.Replace(asRelease42, "web-v2", "none", 1) + " --key DIR/release.key":                "artifact: stat",
		"keygen DIR/release --password-file DIR/web-v2":                                             "release.key is there already",
		"keygen DIR/other --password-file DIR/none":                                                 "password file: open",
		verify + " --service api":                                                                   `it is for the service "web"`,
		verify + " --platform linux/arm64":                                                          "it is for linux/amd64",
		verify + " --signature DIR/release.pub":                                                     "no statement with a minisign signature",
		verify + " --signature DIR/large":                                                           "more than 8192 bytes",
		"verify DIR/web-v2 --public-key DIR/stranger.pub":                                           "has not signed this",
		"verify DIR/web-v2 --public-key DIR/release.key":                                            "not a minisign public key",
		"verify DIR/changed --signature DIR/web-v2.signature --public-key DIR/release.pub":          "it is for the artifact sha256:",
		"verify DIR/changed --public-key DIR/release.pub":                                           "changed.signature: no such file",
		"statement " + asRelease42 + " --public-key DIR/none.pub":                                   "none.pub: no such file",
		strings.Replace(asRelease42, "DIR/web-v2", "DIR", 1) + " --key DIR/release.key --out DIR/x": "is a directory",
	} {
		if r := d.run(t, line); r.code != ExitError || !strings.Contains(r.err, words) || r.out != "" {
			t.Errorf("%s: exit %d: %s%s, want %q", line, r.code, r.out, r.err, words)
		}
	}
	// Nothing is written over unasked, and nobody can be asked here.
	before := string(d.get(t, "web-v2.signature"))
	if r := d.run(t, asRelease42+" --key DIR/release.key"); r.code != ExitUsage || before != string(d.get(t, "web-v2.signature")) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// What an executable runs on it says itself.
func TestSignAnExecutable(t *testing.T) {
	d := newDesk(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	needs.That(t, runtime.GOOS == "linux", "an executable of Linux")
	if r := d.must(t, self+" --service web --release 42 --key DIR/release.key --out DIR/x"); !strings.Contains(r.out, "linux/"+runtime.GOARCH) {
		t.Error(r.out)
	}
}

// Keys and passwords of pipelines are in files that their environment names.
func TestSignByTheEnvironment(t *testing.T) {
	d := newDesk(t)
	d.env["GRACECTL_SIGNING_KEY"] = "testdata/typed.key"
	d.env["GRACECTL_PASSWORD_FILE"] = d.dir + "/password"
	d.put(t, "password", "geheim\nwhatever\n")
	d.must(t, asRelease42)
	for text, words := range map[string]string{"falsch\n": "the password is wrong", "\n": "its first line is empty"} {
		d.put(t, "password", text)
		if r := d.run(t, asRelease42+" -y"); r.code != ExitError || !strings.Contains(r.err, words) {
			t.Errorf("%q: exit %d: %s", text, r.code, r.err)
		}
	}
}

// The signature goes along by itself.
func TestSignaturesGoAlong(t *testing.T) {
	d := newDesk(t)
	d.put(t, "web.yaml", "name: web\nartifact: ./web-v2\nsockets: [{name: http, listen: \"tcp://127.0.0.1:8080\"}]\n")
	d.put(t, "other", "of another file")
	artifact := d.dir + "/web-v2"
	send := func(args ...string) (*pb.StartUpgradeRequest, ran) {
		t.Helper()
		a := newAgent(t).on(&pb.StartUpgradeRequest{}, &pb.StartUpgradeResponse{Unchanged: true, Upgrade: &pb.Upgrade{}})
		r := a.gracectl(t, append([]string{"upgrade", "web"}, args...)...)
		if asked := asked[*pb.StartUpgradeRequest](a); len(asked) == 1 {
			return asked[0], r
		}
		return nil, r
	}
	if q, _ := send(artifact); q == nil || len(q.GetSignature()) > 0 {
		t.Errorf("without a signature: %v", q)
	}
	d.must(t, asRelease42+" --key DIR/release.key")
	beside := string(d.get(t, "web-v2.signature"))
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"an argument":          {[]string{artifact}, beside},
		"a service file":       {[]string{"-f", d.dir + "/web.yaml"}, beside},
		"another of the two":   {[]string{artifact, "--signature", d.dir + "/other"}, "of another file"},
		"what the host has":    {[]string{digest8}, ""},
		"named, for a digest":  {[]string{digest8, "--signature", artifact + ".signature"}, beside},
		"what is recorded":     {nil, ""},
		"in an emergency, too": {[]string{artifact, "--break-glass", "-m", "an emergency"}, beside},
	} {
		q, r := send(row.args...)
		if q == nil || string(q.GetSignature()) != row.want || q.GetBreakGlass() != strings.Contains(name, "emergency") {
			t.Errorf("%s: asked %v: %s", name, q, r.err)
		}
	}
	d.put(t, "large", strings.Repeat("x", statement.MaxFile+1))
	for words, args := range map[string][]string{
		"say with -m why":      {artifact, "--break-glass"},
		"none: no such file":   {artifact, "--signature", d.dir + "/none"},
		"more than 8192 bytes": {artifact, "--signature", d.dir + "/large"},
	} {
		if q, r := send(args...); q != nil || r.code == ExitDone || !strings.Contains(r.err, words) {
			t.Errorf("want %q: exit %d: %s", words, r.code, r.err)
		}
	}
	a := newAgent(t).on(&pb.ApplyServiceRequest{}, &pb.ApplyServiceResponse{})
	a.gracectl(t, "apply", "-f", d.dir+"/web.yaml")
	if q := asked[*pb.ApplyServiceRequest](a); len(q) != 1 || string(q[0].GetSignature()) != beside {
		t.Errorf("apply asked %v", q)
	}
	b := newAgent(t).on(&pb.AdoptServiceRequest{}, &pb.AdoptServiceResponse{})
	b.gracectl(t, "adopt", "-f", d.dir+"/web.yaml", "--pid", "7", "--dry-run")
	if q := asked[*pb.AdoptServiceRequest](b); len(q) != 1 || string(q[0].GetSignature()) != beside {
		t.Errorf("adopt asked %v", q)
	}
}

// A status says what is required, and what a release is.
func TestReleasesAreShown(t *testing.T) {
	st := story()[4]
	st.Service.RequiresSignature, st.Service.ReleaseFloor = true, 42
	st.Generations[0].Release, st.Generations[0].SigningKey = 42, "00000000000000AB"
	r := newAgent(t).on(&pb.GetServiceRequest{}, &pb.GetServiceResponse{Status: st}).gracectl(t, "status", "web")
	if !strings.Contains(r.out, "signed artifacts alone, from release 42 on") || !strings.Contains(r.out, "release 42, key 00000000000000AB") {
		t.Error(r.out)
	}
	up := &pb.Upgrade{Release: 41, SigningKey: "00000000000000AB", BreakGlass: true, Message: "why"}
	if got := how(up); got != "release 41, key 00000000000000AB; the glass was broken; why" {
		t.Error(got)
	}
	if got := signedText(0); got != "signed artifacts alone" {
		t.Error(got)
	}
}
