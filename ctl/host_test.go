package ctl

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/ctl/internal/authority"
)

func TestHostMisuse(t *testing.T) {
	const none = "gj1/ca:7444/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/secret"
	for _, args := range [][]string{{"host"}, {"host", "nonsense"}, {"host", "join"}, {"host", "join", "TOKEN"}, {"host", "join", none}, {"host", "join", "a", "b"}, {"host", "join", "TOKEN", "--listen", "7443"}} {
		r := gracectl(t, t.Context(), nil, args...)
		if r.code != ExitUsage || strings.Contains(r.err, "secret") || r.out != "" {
			t.Errorf("%v: exit %d: %s%s", args, r.code, r.out, r.err)
		}
	}
}

// Two commands: one where the CA is, one on the host.
func TestHostJoin(t *testing.T) {
	c := newCerts(t)
	c.must(t, "init --trust-domain example.org")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- authority.Serve(t.Context(), c.dir, l, hclog.NewNullLogger()) }()
	t.Cleanup(func() { // after the context
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	token := func(name string) string {
		t.Helper()
		return strings.TrimSpace(c.run(t, "token --agent "+name+" --at "+l.Addr().String()).out)
	}
	host := t.TempDir()
	config := filepath.Join(host, "graced.yaml")
	flags := []string{"--dir", filepath.Join(host, "tls"), "--config", config}
	r := gracectl(t, t.Context(), nil, append([]string{"host", "join", token("web-1")}, flags...)...)
	if r.code != ExitDone || !strings.Contains(r.out, "spiffe://example.org/gracefleet/agent/web-1, valid until") || !strings.Contains(r.err, "next: graced --config "+config) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	joined := filepath.Join(host, "tls", "agent.pem") // with its key
	if r := c.must(t, "show "+joined); !strings.Contains(r.out, "agent/web-1") {
		t.Errorf("cert show: %s", r.out)
	}
	if r := c.run(t, "renew "+joined); r.code != ExitError || !strings.Contains(r.err, "holds a PRIVATE KEY") {
		t.Errorf("cert renew, which would part them: exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := c.must(t, "revoke "+joined); !strings.Contains(r.out, "agent web-1: revoked") {
		t.Errorf("cert revoke: %s", r.out)
	}
	if err := os.WriteFile(config, []byte("log_level: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = gracectl(t, t.Context(), nil, append([]string{"host", "join", token("web-2"), "--force"}, flags...)...)
	if r.code != ExitDone || !strings.Contains(r.err, "next: put these lines into "+config) || !strings.Contains(r.out, "renew: "+l.Addr().String()) {
		t.Errorf("with a configuration: exit %d: %s%s", r.code, r.out, r.err)
	}
	r = gracectl(t, t.Context(), nil, append([]string{"host", "join", token("web-3"), "--force", "-o", "json"}, flags...)...)
	var o struct {
		URI, Serial, Certificate string
		Configured               bool
	}
	if err := json.Unmarshal([]byte(r.out), &o); err != nil || o.URI != "spiffe://example.org/gracefleet/agent/web-3" || o.Configured || o.Serial == "" {
		t.Errorf("%s: %+v, %v", r.out, o, err)
	}
	s := &session{stdio: Stdio{In: strings.NewReader(" " + token("web-4") + "\n"), Err: &bytes.Buffer{}}}
	if text, err := s.tokenText("-"); err != nil || !strings.HasPrefix(text, "gj1/") {
		t.Errorf("%q, %v", text, err)
	}
}
