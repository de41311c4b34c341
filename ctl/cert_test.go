package ctl

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

// certs is a place for a CA and for what it issues. GRACECTL_AGENT names an agent
// that does not exist: nothing here may ask it.
type certs struct {
	dir, out string
	env      map[string]string
}

func newCerts(t *testing.T) *certs {
	t.Helper()
	base := t.TempDir()
	return &certs{
		dir: filepath.Join(base, "gracefleet", "ca"), out: filepath.Join(base, "out"),
		env: map[string]string{"XDG_CONFIG_HOME": base, "GRACECTL_AGENT": "unix:" + base + "/nobody"},
	}
}

// run runs gracectl cert; OUT stands for the place of what is issued.
func (c *certs) run(t *testing.T, line string) ran {
	t.Helper()
	args := strings.Fields("cert " + strings.ReplaceAll(line, "OUT", c.out))
	return gracectl(t, t.Context(), c.env, args...)
}

// must runs what has to succeed and returns it with what varies written out.
func (c *certs) must(t *testing.T, line string) ran {
	t.Helper()
	r := c.run(t, line)
	if r.code != ExitDone {
		t.Fatalf("%s: exit %d: %s%s", line, r.code, r.out, r.err)
	}
	r.out, r.err = c.plain(r.out), c.plain(r.err)
	return r
}

var (
	serialText = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	numberText = regexp.MustCompile(`number \d+`)
	tokenText  = regexp.MustCompile(`/[\w-]{43}/[\w-]{43}`)
	minuteText = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`)
)

func (c *certs) plain(text string) string {
	text = strings.NewReplacer(c.dir, "CA", c.out, "OUT").Replace(text)
	text = tokenText.ReplaceAllString(text, "/PIN/SECRET")
	text = numberText.ReplaceAllString(text, "number NUMBER")
	return minuteText.ReplaceAllString(serialText.ReplaceAllString(text, "SERIAL"), "TIME")
}

func TestCertStory(t *testing.T) {
	c := newCerts(t)
	var text strings.Builder
	for _, line := range []string{
		"init --trust-domain example.org",
		"list",
		"issue --agent web-1 --host web-1.example.org,10.0.0.5 --out OUT",
		"issue --role operator --name alice --out OUT",
		"issue --role operator --name alice --out OUT -y --for 36500d",
		"renew OUT/alice.pem --for 30d",
		"revoke OUT/alice.pem --reason key-compromise",
		"revoke OUT/alice.pem",
		"crl",
		"token --agent web-2 --host 10.0.0.6 --at ca.example.org:7444",
		"revoke --agent web-1 --reason stolen",
		"revoke --agent web-2",
	} {
		r := c.must(t, line)
		text.WriteString("$ gracectl cert " + line + "\n" + r.out + r.err)
	}
	golden(t, "cert.txt", text.String())
	for _, name := range []string{"web-1", "alice"} {
		if _, err := tls.LoadX509KeyPair(filepath.Join(c.out, name+".pem"), filepath.Join(c.out, name+".key")); err != nil {
			t.Error(err)
		}
	}
}

// Each answer for programs is one object, the same in both forms.
func TestCertObjects(t *testing.T) {
	for _, line := range []string{
		"init --trust-domain example.org", "issue --agent web-1 --out OUT", "issue --role operator --name alice --out OUT", "renew OUT/alice.pem",
		"show OUT/alice.pem", "revoke OUT/alice.pem", "crl", "list", "show OUT/ca.pem",
		"token --agent web-1 --at ca.example.org:7444,10.0.0.2:7444", "revoke --agent web-1",
	} {
		keys := map[string][]string{}
		for _, form := range []string{"json", "yaml"} {
			c := newCerts(t)
			if !strings.HasPrefix(line, "init") {
				c.must(t, "init --trust-domain example.org")
				c.must(t, "issue --role operator --name alice --out OUT -y")
				if strings.HasPrefix(line, "issue") {
					line += " -y"
				}
			}
			r := c.run(t, line+" -o "+form)
			if r.code != ExitDone || r.err != "" {
				t.Errorf("%s: exit %d: %s", line, r.code, r.err)
			}
			var o yaml.MapSlice
			if form == "json" && !json.Valid([]byte(r.out)) || yaml.UnmarshalWithOptions([]byte(r.out), &o, yaml.UseOrderedMap()) != nil || len(o) == 0 {
				t.Errorf("%s: %s", line, r.out)
			}
			for _, item := range o {
				keys[form] = append(keys[form], item.Key.(string))
			}
		}
		if a, b := strings.Join(keys["json"], " "), strings.Join(keys["yaml"], " "); a != b {
			t.Errorf("%s: %s\n%s", line, a, b)
		}
	}
}

func TestCertMisuse(t *testing.T) {
	c := newCerts(t)
	c.must(t, "init --trust-domain example.org")
	for _, line := range []string{
		"", "nonsense", "init", "init --trust-domain Example.org", "init --trust-domain 10.0.0.1", "init x --trust-domain example.org",
		"issue", "issue --role operator", "issue --name alice", "issue --role agent --name web-1", "issue --role Operator --name alice",
		"issue --role operator --name al/ice", "issue --role operator --name ca", "issue --role operator --name alice --agent web-1",
		"issue --role operator --name alice --host web-1", "issue --agent Web", "issue --agent web-1 --host *.example.org",
		"issue --agent web-1 --host web-1:7443", "issue --agent a..b", "issue --role operator --name alice --for 90", "issue --role operator --name alice --for 0s",
		"issue --agent web-1 --host web-1 extra", "renew", "renew a b", "renew a --for x", "revoke", "revoke a b", "revoke a --reason " + strings.Repeat("x", 501),
		"show", "show a b", "list x", "crl x", "list -o xml", "revoke alice.pem --agent web-1", "revoke --agent Web", "issue --role authority --name ca-2",
		"serve x", "serve --listen 7444", "serve --log-level loud", "token", "token --agent web-1", "token --agent web-1 --at 10.0.0.2",
		"token --agent web-1 --at 10.0.0.2:0", "token --agent web-1 --at CA:7444", "token --agent Web --at ca:7444", "token --agent web-1 --host *.a --at ca:7444",
		"token --agent web-1 --at ca:7444 --for 8d", "token --agent web-1 --at ca:7444 --lifetime 0s", "token --agent web-1 --at ca:7444 x",
	} {
		r := c.run(t, line)
		if r.code != ExitUsage || !strings.Contains(r.err, "hint: gracectl cert") || r.out != "" {
			t.Errorf("%q: exit %d: %s%s", line, r.code, r.out, r.err)
		}
	}
	if r := c.must(t, "list -o json"); !strings.Contains(r.out, `"certificates": []`) {
		t.Errorf("something was issued: %s", r.out)
	}
	c.env = map[string]string{"XDG_CONFIG_HOME": "relative"}
	if r := c.run(t, "list"); r.code != ExitUsage || !strings.Contains(r.err, "--dir") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestCertErrors(t *testing.T) {
	c, other := newCerts(t), newCerts(t)
	for _, line := range []string{
		"issue --role operator --name alice --out OUT", "revoke 0123456789abcdef", "revoke --agent web-1", "crl", "list", "serve --listen 127.0.0.1:0",
		"token --agent web-1 --at ca:7444",
	} {
		if r := c.run(t, line); r.code != ExitError || !strings.Contains(r.err, "gracectl cert init") {
			t.Errorf("%q: exit %d: %s%s", line, r.code, r.out, r.err)
		}
	}
	if _, err := os.Stat(c.dir); err == nil {
		t.Error("a command that failed made a directory")
	}
	for _, place := range []*certs{c, other} {
		place.must(t, "init --trust-domain example.org")
		place.must(t, "issue --role operator --name alice --out OUT")
	}
	for line, want := range map[string]string{
		"init --trust-domain example.org":                           "has a CA already",
		"issue --role operator --name alice --out " + c.dir:         "own directory",
		"renew OUT/nobody.pem":                                      "no such file",
		"renew OUT/alice.key":                                       "holds a PRIVATE KEY where a CERTIFICATE is expected",
		"renew " + other.out + "/alice.pem":                         "alice.pem: this CA has not issued it",
		"revoke " + other.out + "/alice.pem":                        "alice.pem: this CA has not issued it",
		"revoke OUT/nobody.pem":                                     "no such file",
		"revoke 0123456789abcdef":                                   "has issued no certificate",
		"revoke 0123":                                               "no such file",
		"show " + c.dir + "/issued.jsonl":                           "is no PEM file",
		"show " + c.dir + "/crl.pem":                                "holds a X509 CRL where a CERTIFICATE is expected",
		"issue --role operator --name bob --out OUT/alice.pem/deep": "not a directory",
	} {
		if r := c.run(t, line); r.code != ExitError || !strings.Contains(r.err, want) || r.out != "" {
			t.Errorf("%q: exit %d: %s%s, want %q", line, r.code, r.out, r.err, want)
		}
	}
}

func TestCertOverwritesNothingUnasked(t *testing.T) {
	c := newCerts(t)
	c.must(t, "init --trust-domain example.org")
	c.must(t, "issue --role operator --name alice --out OUT")
	before, _ := os.ReadFile(filepath.Join(c.out, "alice.pem"))
	r := c.run(t, "issue --role operator --name alice --out OUT")
	after, _ := os.ReadFile(filepath.Join(c.out, "alice.pem"))
	if r.code != ExitUsage || !strings.Contains(r.err, "alice.pem") || !strings.Contains(r.err, "-y") || string(before) != string(after) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	c.must(t, "issue --role operator --name alice --out OUT -y")
}

func TestCertTable(t *testing.T) {
	entry := func(serial, role, name string, from, to time.Duration) ca.Entry {
		return ca.Entry{Serial: strings.Repeat(serial, 32), Role: role, Name: name, NotBefore: noon.Add(from), NotAfter: noon.Add(to)}
	}
	const day = 24 * time.Hour
	web1 := entry("1", "agent", "web-1", -day, 89*day)
	web1.Hosts = []string{"web-1.example.org", "10.0.0.5"}
	gone := entry("2", "operator", "bob", -day, 89*day)
	gone.RevokedAt, gone.Reason = noon, "left the team"
	entries := byName([]ca.Entry{
		web1, entry("3", "operator", "alice", -day, 89*day), entry("4", "operator", "alice", -91*day, -day), gone,
		entry("5", "admin", "alice", -day, 89*day), entry("6", "operator", "zoe", day, 2*day),
	})
	golden(t, "certs.txt", strings.Join(certTable(entries, noon).lines(false), "\n")+"\n")
	all := []object{}
	for _, e := range entries {
		all = append(all, entryObject(e, noon))
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "certs.json", string(text)+"\n")
}

func TestCertShow(t *testing.T) {
	c, other := newCerts(t), newCerts(t)
	nowhere := newCerts(t)
	for _, place := range []*certs{c, other} {
		place.must(t, "init --trust-domain example.org")
		place.must(t, "issue --agent web-1 --host web-1.example.org,10.0.0.5 --out OUT")
	}
	hash := regexp.MustCompile(`[0-9a-f]{64}`)
	name := regexp.MustCompile(`gracefleet CA [0-9a-f]{8}`)
	var text strings.Builder
	show := func(what string, from *certs, file string) {
		t.Helper()
		r := from.must(t, "show "+file)
		out := strings.NewReplacer(c.out, "OUT").Replace(r.out)
		text.WriteString(what + "\n" + name.ReplaceAllString(hash.ReplaceAllString(out, "SHA256"), "gracefleet CA NAME") + "\n")
	}
	show("ours", c, c.out+"/web-1.pem")
	show("the CA", c, c.out+"/ca.pem")
	show("another's", other, c.out+"/web-1.pem")
	show("another CA", other, c.out+"/ca.pem")
	show("no CA to compare with", nowhere, c.out+"/web-1.pem")
	c.must(t, "revoke "+c.out+"/web-1.pem --reason superseded")
	show("revoked", c, c.out+"/web-1.pem")
	golden(t, "cert-show.txt", text.String())
}

// A certificate can hold anything: it must not reach the terminal as it is.
func TestCertShowEscapes(t *testing.T) {
	s := &shown{cert: &x509.Certificate{DNSNames: []string{"a\x1b[2Jb"}, SerialNumber: big.NewInt(1)}}
	var all []string
	for _, line := range s.lines("CA", noon) {
		all = append(all, visible(line))
	}
	if text := strings.Join(all, ""); strings.Contains(text, "\x1b") || !strings.Contains(text, `a\x1b[2Jb`) {
		t.Errorf("%q", text)
	}
}

func TestCertListWarns(t *testing.T) {
	c := newCerts(t)
	c.must(t, "init --trust-domain example.org")
	file := filepath.Join(c.dir, "crl.pem")
	os.Remove(file)
	if r := c.must(t, "list"); !strings.Contains(r.err, "is missing: gracectl cert crl") {
		t.Errorf("%s", r.err)
	}
	os.WriteFile(file, []byte("x"), 0o600)
	if r := c.must(t, "list"); !strings.Contains(r.err, "warning: CA/crl.pem: is no PEM file") {
		t.Errorf("%s", r.err)
	}
	a, err := ca.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(file)
	c.must(t, "crl")
	var stderr strings.Builder
	s := &session{stdio: Stdio{Err: &stderr}}
	s.crlWarning(a, time.Now().Add(31*24*time.Hour))
	if !strings.Contains(stderr.String(), "out of date since") {
		t.Errorf("%s", stderr.String())
	}
}

// The directory is also what --dir says, and HOME's when XDG says nothing.
func TestCertDirectory(t *testing.T) {
	home := t.TempDir()
	c := &certs{out: filepath.Join(home, "out"), env: map[string]string{"HOME": home}}
	c.dir = filepath.Join(home, ".config", "gracefleet", "ca")
	c.must(t, "init --trust-domain example.org")
	if _, err := os.Stat(filepath.Join(c.dir, "ca.pem")); err != nil {
		t.Error(err)
	}
	c.must(t, "init --trust-domain example.net --dir "+home+"/other")
	if r := c.must(t, "list -o json --dir "+home+"/other"); !strings.Contains(r.out, `"trustDomain": "example.net"`) {
		t.Errorf("%s", r.out)
	}
}

// What the instructions say can be typed.
func TestCertInstructions(t *testing.T) {
	text, err := os.ReadFile("../deploy/certs.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "gracectl cert ")
		if !ok {
			continue
		}
		found++
		line, _, _ = strings.Cut(line, " #")
		cmd, rest, err := newRoot(&session{}).Find(append([]string{"cert"}, strings.Fields(line)...))
		if err != nil || cmd.Name() == "cert" || cmd.ParseFlags(rest) != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if found < 7 {
		t.Errorf("%d commands", found)
	}
}
