package ca

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
)

func TestIssueWritesFilesAndJournal(t *testing.T) {
	s := setUp(t, time.Now())
	dir := filepath.Join(t.TempDir(), "new", "dir")
	issued, err := s.Issue(web1, OutputIn(dir, "web-1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"web-1.pem": 0o644, "web-1.key": 0o600, "ca.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v", name, err)
		}
	}
	cert := readCert(t, issued.Output.Certificate)
	a, err := Open(s.Dir())
	if err != nil || len(a.Entries()) != 1 {
		t.Fatalf("%v, %v", a.Entries(), err)
	}
	e := a.Entries()[0]
	if e.Serial != FormatSerial(cert.SerialNumber) || e.Role != "agent" || e.Name != "web-1" || !slices.Equal(e.Hosts, web1.Hosts) ||
		!e.NotAfter.Equal(cert.NotAfter) || e.State(time.Now()) != Valid || issued.Limited {
		t.Errorf("%+v", e)
	}
	if !a.Issued(cert) {
		t.Error("the CA does not know its own")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

func TestIssueRefuses(t *testing.T) {
	s := setUp(t, time.Now())
	for what, test := range map[string]struct {
		r    Request
		want string
	}{
		"the role of agents": {Request{Role: "Agent", Name: "x", Lifetime: day}, "role"},
		"a name":             {Request{Role: "operator", Name: "x/y", Lifetime: day}, "name"},
		"a client's host":    {Request{Role: "operator", Name: "x", Hosts: []string{"x"}, Lifetime: day}, "has hosts"},
		"no host":            {Request{Role: identity.AgentRole, Name: "x", Lifetime: day}, "has hosts"},
	} {
		if _, err := s.Issue(test.r, OutputIn(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Issue(alice, OutputIn(s.Dir(), "alice")); err == nil || !strings.Contains(err.Error(), "own directory") {
		t.Errorf("%v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	os.Symlink(s.Dir(), link)
	if _, err := s.Issue(alice, OutputIn(link, "alice")); err == nil || !strings.Contains(err.Error(), "own directory") {
		t.Errorf("%v", err)
	}
	if len(s.journal) > 0 {
		t.Errorf("the journal has %v", s.journal)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	s := setUp(t, time.Now())
	for _, name := range []string{"alice.pem", "alice.key", "ca.pem"} {
		out := OutputIn(t.TempDir(), "alice")
		path := filepath.Join(filepath.Dir(out.Key), name)
		write(t, path, "mine")
		if _, err := s.Issue(alice, out); err == nil || !strings.Contains(err.Error(), path+" would be overwritten: allow it with -y") {
			t.Errorf("%s: %v", name, err)
		}
		if got := files(t, filepath.Dir(path)); got != name+":\nmine" {
			t.Errorf("%s: %s", name, got)
		}
		out.Overwrite = true
		if _, err := s.Issue(alice, out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pair(t, out)
	}
	// A copy of ca.pem that is there already is no conflict.
	_, out := issue(t, s, alice)
	if found, err := s.Conflicts(OutputIn(filepath.Dir(out.CA), "bob")); err != nil || len(found) > 0 {
		t.Errorf("%q, %v", found, err)
	}
}

// A place that cannot be written shows before the journal has anything.
func TestOutputThatCannotBeWritten(t *testing.T) {
	s := setUp(t, time.Now())
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for _, out := range []Output{OutputIn(file, "alice"), OutputIn("/proc/nowhere", "alice")} {
		if _, err := s.Issue(alice, out); err == nil {
			t.Errorf("%s was written", out.Certificate)
		}
	}
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "alice.key"), 0o755)
	if _, err := s.Issue(alice, OutputIn(dir, "alice")); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("%v", err)
	}
	if len(s.journal) > 0 {
		t.Errorf("the journal has %v", s.journal)
	}
}

func TestCertificatesEndWithTheCA(t *testing.T) {
	now := time.Now()
	s := setUp(t, now)
	r := alice
	r.Lifetime = maxLifetime
	issued, err := s.Issue(r, OutputIn(t.TempDir(), "alice"))
	if err != nil || !issued.Limited || !issued.NotAfter.Equal(s.cert.NotAfter) {
		t.Errorf("%+v, %v", issued, err)
	}
	for want, at := range map[string]time.Time{"the CA expired": now.Add(caLifetime + time.Hour), "is this machine's clock right": now.Add(-time.Hour)} {
		s.now = func() time.Time { return at }
		if _, err := s.Issue(alice, OutputIn(t.TempDir(), "alice")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestRenew(t *testing.T) {
	now := time.Now()
	s := setUp(t, now)
	for _, r := range []Request{alice, web1} {
		old, files := issue(t, s, r)
		before := pair(t, files)
		s.now = func() time.Time { return now.Add(200 * day) } // also when it has expired
		out, err := OutputOver(files.Certificate, old)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Renew(old, LifetimeOf(old), out); err != nil {
			t.Fatal(err)
		}
		cert := readCert(t, files.Certificate)
		if cert.URIs[0].String() != old.URIs[0].String() || !slices.Equal(HostsOf(cert), HostsOf(old)) || !slices.Equal(cert.ExtKeyUsage, old.ExtKeyUsage) {
			t.Errorf("%v became %v", old.URIs, cert.URIs)
		}
		if cert.SerialNumber.Cmp(old.SerialNumber) == 0 || pair(t, files).PrivateKey == before.PrivateKey || string(cert.RawSubjectPublicKeyInfo) == string(old.RawSubjectPublicKeyInfo) {
			t.Error("key or serial number is the old one")
		}
		if got := LifetimeOf(cert); got != DefaultLifetime {
			t.Errorf("valid for %v", got)
		}
		s.now = func() time.Time { return now }
	}
	if len(s.journal) != 4 {
		t.Errorf("%v", s.journal)
	}
}

func TestRenewRefuses(t *testing.T) {
	s, other := setUp(t, time.Now()), setUp(t, time.Now())
	foreign, out := issue(t, other, alice)
	if _, err := s.Renew(foreign, day, out); err == nil || !strings.Contains(err.Error(), "this CA has not issued it") {
		t.Errorf("%v", err)
	}
	if _, err := s.Renew(s.cert, day, out); err == nil {
		t.Error("a CA renewed itself")
	}
	revoked, out := issue(t, s, alice)
	if _, err := s.RevokeCertificate(revoked, ""); err != nil {
		t.Fatal(err)
	}
	out, _ = OutputOver(out.Certificate, revoked)
	if _, err := s.Renew(revoked, day, out); err == nil || !strings.Contains(err.Error(), "it was revoked") {
		t.Errorf("%v", err)
	}
	// The file beside is another's key, or what a renewal left that was cut off.
	cert, out := issue(t, s, alice)
	write(t, out.Key, "mine")
	out, _ = OutputOver(out.Certificate, cert)
	if _, err := s.Renew(cert, day, out); err == nil || !strings.Contains(err.Error(), out.Key+" would be overwritten") {
		t.Errorf("%v", err)
	}
	out.Overwrite = true
	if _, err := s.Renew(cert, day, out); err != nil {
		t.Errorf("%v", err)
	}
	pair(t, out)
}

func TestRenewFollowsLinks(t *testing.T) {
	s := setUp(t, time.Now())
	cert, files := issue(t, s, alice)
	link := filepath.Join(t.TempDir(), "tls.pem")
	os.Symlink(files.Certificate, link)
	os.Symlink(files.Key, strings.TrimSuffix(link, ".pem")+".key")
	out, err := OutputOver(link, cert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Renew(cert, day, out); err != nil {
		t.Fatal(err)
	}
	if readCert(t, link).Equal(cert) || !readCert(t, link).Equal(readCert(t, files.Certificate)) {
		t.Error("the link was replaced")
	}
	pair(t, files)
	if _, err := OutputOver(files.Key, cert); err == nil {
		t.Error("a certificate named .key would be its own key")
	}
}
