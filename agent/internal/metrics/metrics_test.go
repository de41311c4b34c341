package metrics

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve shows figures, until the function that it returns is called.
func serve(t *testing.T, f Figures) (url string, end func()) {
	t.Helper()
	l, err := Listen(t.Context(), ":0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, func() Figures { return f }) }()
	return "http://" + l.Addr().String(), func() {
		t.Helper()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestFigures(t *testing.T) {
	url, end := serve(t, Figures{
		Version: `v1"2`, NotAfter: map[string]time.Time{"agent": time.Unix(1893456000, 0), "crl": {}}, Degraded: 2, Refused: 3,
		Connections: map[string]int{"local": 4, "network": 5}, RegistryContact: time.Unix(1893456001, 0),
	})
	defer end()
	r, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r.Status, err)
	}
	for _, want := range []string{
		"gracefleet_certificate_not_after_seconds{kind=\"agent\"} 1.893456e+09\n", "gracefleet_degraded 2\n", "gracefleet_registry_contact_seconds 1.893456001e+09\n", "gracefleet_refused_handshakes_total 3\n",
		"gracefleet_connections{from=\"local\"} 4\n", "gracefleet_connections{from=\"network\"} 5\n", `version="v1\"2"`, "process_open_fds ",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	for _, unknown := range []string{`kind="crl"`, "gracefleet_renew_contact_seconds"} {
		if bytes.Contains(text, []byte(unknown)) {
			t.Errorf("%q is not known, and told", unknown)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		request, err := http.NewRequestWithContext(t.Context(), method, url+"/metrics", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, r.Status)
		}
	}
}

// Connections that say nothing end, and hold up neither others nor the end.
func TestSilentConnections(t *testing.T) {
	url, end := serve(t, Figures{})
	defer end()
	for range 4 {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	r, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
}

func TestAddresses(t *testing.T) {
	for address, words := range map[string]string{
		"9464":           "want HOST:PORT",
		"192.0.2.1:9464": "--metrics 192.0.2.1:9464",
		":99999":         "--metrics :99999",
	} {
		if _, err := Listen(t.Context(), address); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", address, err, words)
		}
	}
	l, err := Listen(t.Context(), ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		t.Errorf("without a host it listens on %s", l.Addr())
	}
}
