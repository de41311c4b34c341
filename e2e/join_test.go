//go:build linux

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// joiner is a host that has a place for an agent's files and nothing else.
type joiner struct {
	t       *testing.T
	dir     string
	address string // of its agent
}

func newJoiner(t *testing.T) *joiner {
	t.Helper()
	return &joiner{t: t, dir: t.TempDir(), address: fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))}
}

func (j *joiner) config() string { return filepath.Join(j.dir, "graced.yaml") }
func (j *joiner) pair() string   { return filepath.Join(j.dir, "tls", "agent.pem") }

// join types a token, on standard input, so that it is in no list of processes.
func (j *joiner) join(token string, flags ...string) harness.Result {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(j.t, "gracectl"), append([]string{
		"host", "join", "-", "--dir", filepath.Join(j.dir, "tls"), "--config", j.config(), "--listen", j.address,
	}, flags...)...)
	cmd.Stdin = strings.NewReader(token + "\n")
	return harness.Run(cmd)
}

// joined is a host with an agent's certificate of some lifetime.
func joined(t *testing.T, ca *harness.Authority, lifetime string) *joiner {
	t.Helper()
	j := newJoiner(t)
	if r := j.join(ca.Token("--agent", "web-1", "--host", "127.0.0.1", "--lifetime", lifetime)); r.Code != 0 {
		t.Fatal(r)
	}
	return j
}

func (j *joiner) leaf() *x509.Certificate {
	j.t.Helper()
	pair, err := tls.LoadX509KeyPair(j.pair(), j.pair())
	if err != nil {
		j.t.Fatal(err)
	}
	return pair.Leaf
}

// renewed waits until the file has another certificate.
func (j *joiner) renewed(old *x509.Certificate) *x509.Certificate {
	j.t.Helper()
	limit := time.Now().Add(2 * awaitLimit)
	for {
		if now := j.leaf(); !now.Equal(old) {
			return now
		}
		if time.Now().After(limit) {
			j.t.Fatal("the certificate is not renewed")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// serialOf is the certificate that the agent shows to the network.
func (j *joiner) serialOf(a *harness.Agent) string {
	j.t.Helper()
	var info struct {
		Network struct{ Serial, RenewError string }
	}
	a.CtlJSON(j.t, &info, "info")
	return info.Network.Serial
}

// A token counts once, for a while, at the CA that it is of.
func TestJoinTokens(t *testing.T) {
	ca := harness.StartAuthority(t)
	token := ca.Token("--agent", "web-1", "--host", "127.0.0.1")
	first, second := newJoiner(t), newJoiner(t)
	r := first.join(token)
	if r.Code != 0 || strings.Contains(r.Stdout+r.Stderr, token) {
		t.Fatal(r)
	}
	for name, mode := range map[string]os.FileMode{"agent.pem": 0o600, "ca.pem": 0o644, "crl.pem": 0o644} {
		info, err := os.Stat(filepath.Join(first.dir, "tls", name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, mode)
		}
	}
	if left, err := os.ReadDir(filepath.Join(first.dir, "tls")); err != nil || len(left) != 3 {
		t.Errorf("beside them there are %v, %v", left, err)
	}
	const refused = "the join token does not count: it was used, has expired, or is not of this CA"
	if r := second.join(token); r.Code != 1 || !strings.Contains(r.Stderr, refused) {
		t.Errorf("a token was used twice: %v", r)
	}
	if _, err := os.Stat(second.pair()); err == nil {
		t.Error("the second has a certificate")
	}
	if !strings.Contains(ca.Log(), `[ERROR] ca: a join token was refused:`) || !strings.Contains(ca.Log(), "two have it") {
		t.Error("nobody is told that two have the token")
	}
	short := ca.Token("--agent", "web-2", "--host", "127.0.0.1", "--for", "1s")
	time.Sleep(2 * time.Second) // nothing happens when it ends
	if r := second.join(short); r.Code != 1 || !strings.Contains(r.Stderr, refused) {
		t.Errorf("a token that has expired: %v", r)
	}
	replaced, now := ca.Token("--agent", "web-3", "--host", "127.0.0.1"), ca.Token("--agent", "web-3", "--host", "127.0.0.1")
	if r := second.join(replaced); r.Code != 1 || !strings.Contains(r.Stderr, refused) {
		t.Errorf("a token with a successor: %v", r)
	}
	if r := first.join(now); r.Code != 1 || !strings.Contains(r.Stderr, "gracefleet/agent/web-1") || !strings.Contains(r.Stderr, "--force") {
		t.Errorf("an identity was replaced: %v", r)
	}
	if r := first.join(now, "--force"); r.Code != 0 || !strings.Contains(first.leaf().URIs[0].String(), "/agent/web-3") {
		t.Errorf("with --force: %v", r)
	}
	kept, err := os.ReadFile(filepath.Join(ca.Dir, "tokens.jsonl"))
	if secret := token[strings.LastIndex(token, "/")+1:]; err != nil || strings.Contains(string(kept), secret) || strings.Contains(ca.Log(), secret) {
		t.Errorf("the CA keeps the secret (%v)", err)
	}
	if code := ca.Terminate(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// Somebody in between, with a CA of their own, or another host's certificate of the
// right one, hears nothing of the token, which is good for the right CA afterwards.
func TestJoinThroughSomebodyInBetween(t *testing.T) {
	ca, other := harness.StartAuthority(t), harness.StartAuthority(t)
	token := ca.Token("--agent", "web-1", "--host", "127.0.0.1")
	j := newJoiner(t)
	r := j.join(strings.Replace(token, ca.Address, other.Address, 1))
	if r.Code != 1 || !strings.Contains(r.Stderr, "this is not the CA that the token is of") {
		t.Errorf("the wrong CA was believed: %v", r)
	}
	ca.Ctl("issue", "--agent", "mallory", "--host", "127.0.0.1")
	stolen, err := tls.LoadX509KeyPair(filepath.Join(ca.Out, "mallory.pem"), filepath.Join(ca.Out, "mallory.key"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(filepath.Join(ca.Out, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	between, heard := listenInBetween(t, stolen, root)
	r = j.join(strings.Replace(token, ca.Address, between, 1))
	if r.Code != 1 || !strings.Contains(r.Stderr, "which is not the CA of example.org") {
		t.Errorf("a host passed for the CA: %v", r)
	}
	if n := heard(); n != 0 {
		t.Errorf("the one in between got %d bytes", n)
	}
	if strings.Contains(other.Log(), "token") || strings.Contains(ca.Log(), "token") {
		t.Error("a CA was asked")
	}
	// Of several addresses the first that answers rightly counts.
	if r := j.join(strings.Replace(token, ca.Address, other.Address+","+ca.Address, 1)); r.Code != 0 {
		t.Errorf("the token is spoilt: %v", r)
	}
}

// An agent whose certificate lasts for seconds has always one that counts: while it
// is watched, while requests go on, while the CA is away and when it is back. What
// was revoked is told to it by nobody but the CA.
func TestAgentRenewsItself(t *testing.T) {
	ca := harness.StartAuthority(t)
	j := joined(t, ca, "40s")
	s := start(t, "runtime", signalDrain, "--config", j.config())
	alice := &remote{Agent: s.Agent, t: t, address: j.address, files: ca.Client("operator", "alice")}
	bob := &remote{Agent: s.Agent, t: t, address: j.address, files: ca.Client("operator", "bob")}
	l := s.load(rate(), rate(), nil)
	watch := alice.command(t.Context(), "status", "web", "-w", "-o", "json")
	begun := make(chan struct{})
	watch.Stdout = &firstWrite{heard: begun}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- watch.Wait() }()
	<-begun

	bob.ok("status")
	ca.Ctl("revoke", filepath.Join(ca.Out, "bob.pem"), "--reason", "key-compromise")
	if r := bob.until(1, "status"); !strings.Contains(r.Stderr, "does not accept your certificate") {
		t.Errorf("a revoked client: %v", r)
	}
	first := j.leaf()
	second := j.renewed(first)
	alice.ok("status")
	if second.URIs[0].String() != first.URIs[0].String() || !second.IPAddresses[0].Equal(first.IPAddresses[0]) || second.NotAfter.Before(first.NotAfter) {
		t.Errorf("%v at %v became %v at %v", first.URIs, first.IPAddresses, second.URIs, second.IPAddresses)
	}
	ca.Kill()
	awaitText(t, s.Log, "the CA could not be asked")
	if info := s.CtlOK(t, "info"); !strings.Contains(info, "which failed: ") {
		t.Errorf("nothing is said of the CA that is away:\n%s", info)
	}
	// It is asked again while two thirds are over, and complained about.
	awaitText(t, func() string { return s.CtlOK(t, "info") }, "degraded  the CA at "+ca.Address+" does not renew them")
	ca.Serve()
	third := j.renewed(second)
	awaitText(t, s.Log, "the CA answers again")
	awaitText(t, func() string { return j.serialOf(s.Agent) }, fmt.Sprintf("%032x", third.SerialNumber))
	if info := alice.ok("info"); strings.Contains(info, "degraded  the agent") || strings.Contains(info, "failed") {
		t.Errorf("it is over, and still told:\n%s", info)
	}
	select {
	case err := <-ended:
		t.Errorf("the watch was dropped: %v", err)
	default:
		_ = watch.Process.Signal(os.Interrupt)
		<-ended
	}
	s.Kill9(t)
	s.Restart(t)
	alice.ok("status")
	unharmed(t, l)

	// A stolen host: nothing that it has, or may get, counts any more.
	unused := ca.Token("--agent", "web-1", "--host", "127.0.0.1")
	ca.Ctl("revoke", "--agent", "web-1")
	awaitText(t, ca.Log, "was revoked: the host may join again")
	var list struct {
		Certificates []struct{ Role, State string }
	}
	if err := json.Unmarshal([]byte(ca.Ctl("list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Certificates {
		if c.Role == "agent" && c.State == "valid" {
			t.Errorf("one of its certificates still counts: %v", list)
		}
	}
	if r := newJoiner(t).join(unused); r.Code != 1 {
		t.Errorf("a token of a revoked agent: %v", r)
	}
}

// awaitText waits until what is said has a text.
func awaitText(t *testing.T, said func() string, text string) {
	t.Helper()
	limit := time.Now().Add(2 * awaitLimit)
	for !strings.Contains(said(), text) {
		if time.Now().After(limit) {
			t.Fatalf("want %q, it is\n%s", text, said())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var expiry = regexp.MustCompile(`(?m)^gracefleet_certificate_not_after_seconds\{kind="(agent|ca|crl)"\} (\S+)$`)

// Figures for Prometheus are there for whoever the operator lets at the address.
func TestMetrics(t *testing.T) {
	ca := harness.StartAuthority(t)
	j := joined(t, ca, "90d")
	port := harness.FreePort(t)
	a := harness.Start(t, "--config", j.config(), "--metrics", fmt.Sprintf(":%d", port))
	alice := &remote{Agent: a, t: t, address: j.address, files: ca.Client("operator", "alice")}
	alice.ok("info")
	if _, err := tls.Dial("tcp", j.address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("an old TLS was let in")
	}
	get := func(path string) (string, int) {
		t.Helper()
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(bufio.NewReader(r.Body))
		if err != nil {
			t.Fatal(err)
		}
		return string(body), r.StatusCode
	}
	text, code := get("/metrics")
	eventually(t, "the refused handshake is counted", func() bool {
		text, code = get("/metrics")
		return strings.Contains(text, "gracefleet_refused_handshakes_total 1\n")
	})
	ends := map[string]float64{}
	for _, m := range expiry.FindAllStringSubmatch(text, -1) {
		at, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Error(err)
		}
		ends[m[1]] = at
	}
	days := func(kind string) int { return int((ends[kind] - float64(time.Now().Unix()) + 60) / 86400) }
	if code != http.StatusOK || days("agent") != 90 || days("ca") != 3652 || days("crl") != 30 {
		t.Errorf("status %d: ends are %v in\n%s", code, ends, text)
	}
	for _, want := range []string{
		`gracefleet_build_info{goversion="go`, "gracefleet_degraded 0\n", `gracefleet_connections{from="network"} `, "process_resident_memory_bytes ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if _, code := get("/"); code != http.StatusNotFound {
		t.Errorf("there is something else, with status %d", code)
	}
	if listening, err := os.ReadFile("/proc/net/tcp6"); err != nil || strings.Contains(string(listening), fmt.Sprintf("00000000000000000000000000000000:%04X ", port)) {
		t.Errorf("without a host it listens on every address (%v)", err)
	}
}
