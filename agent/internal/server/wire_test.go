package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// wire speaks HTTP/2 itself: no client of gRPC sends such paths.
type wire struct {
	t      *testing.T
	framer *http2.Framer
	stream uint32
}

func (h *host) wire(t *testing.T, config *tls.Config) *wire {
	t.Helper()
	c, err := tls.Dial("tcp", h.remote.Listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err = io.WriteString(c, http2.ClientPreface)
	if err := errors.Join(err, f.WriteSettings()); err != nil {
		t.Fatal(err)
	}
	return &wire{t: t, framer: f}
}

// call sends a request with exactly this path and returns the status of gRPC in
// the answer's headers or trailers; empty for a stream that was reset.
func (w *wire) call(path string, request proto.Message) string {
	w.t.Helper()
	w.stream = w.stream + 1 | 1
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", path}, {":authority", "localhost"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			w.t.Fatal(err)
		}
	}
	body, err := proto.Marshal(request)
	if err != nil {
		w.t.Fatal(err)
	}
	message := append([]byte{0, 0, 0, 0, byte(len(body))}, body...)
	err = w.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: w.stream, BlockFragment: block.Bytes(), EndHeaders: true})
	if err := errors.Join(err, w.framer.WriteData(w.stream, true, message)); err != nil {
		w.t.Fatal(err)
	}
	return w.answer()
}

func (w *wire) answer() string {
	w.t.Helper()
	for {
		frame, err := w.framer.ReadFrame()
		if err != nil {
			w.t.Fatal(err)
		}
		if frame.Header().StreamID != w.stream {
			continue
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				if field.Name == "grpc-status" {
					return field.Value
				}
			}
		case *http2.RSTStreamFrame:
			return ""
		}
	}
}

func clientConfig(ca *certstest.CA, cert tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
}

// No spelling of a path but its own reaches a method.
func TestPathTricks(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca), withoutBound)
	h.supervisor.status = supervisor.Status{Name: "web"}
	const path = "gracefleet.v1.SupervisorService/StopService"
	stop := &pb.StopServiceRequest{Name: "web"}
	for role, itself := range map[string]string{"admin": "0", "read": "7"} { // OK, PERMISSION_DENIED
		w := h.wire(t, clientConfig(ca, ca.Client(role, "x")))
		for _, trick := range []string{
			path, "//" + path, "/" + path + "/", "/" + path + "?x", "/x/../" + path, "/%67racefleet.v1.SupervisorService/StopService",
			"/GRACEFLEET.V1.SUPERVISORSERVICE/STOPSERVICE", "/gracefleet.v1.SupervisorService//StopService", "https://localhost/" + path,
		} {
			after := h.audit.Head().Seq
			if got := w.call(trick, stop); got == "0" || h.supervisor.last() != nil {
				t.Errorf("%s: %q ended with status %q and asked for %v", role, trick, got, h.supervisor.last())
			}
			if lines := h.since(t, after); len(lines) != 1 || lines[0].Method != trick || lines[0].Actor != role+"/x" {
				t.Errorf("%s: %q was recorded as %+v", role, trick, lines)
			}
		}
		if got := w.call("/"+path, stop); got != itself {
			t.Errorf("%s: the path itself ended with status %q, want %s", role, got, itself)
		}
		h.supervisor.asked = nil
	}
}

// What the agent can do is not told by itself: reflection is off, for admin, too.
func TestNoReflection(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	w := h.wire(t, clientConfig(ca, ca.Client("admin", "x")))
	for _, version := range []string{"v1", "v1alpha"} {
		if got := w.call("/grpc.reflection."+version+".ServerReflection/ServerReflectionInfo", &pb.GetCallerRequest{}); got != "12" {
			t.Errorf("%s: status %q, want UNIMPLEMENTED", version, got)
		}
	}
}

// Neither a session that was kept, nor a connection, outlives what it was begun
// with: a revocation, or the end of the certificate's time.
func TestNothingOutlivesItsCertificate(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	revoked := ca.Client("read", "stolen")
	soon := ca.Client("read", "soon", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(2 * time.Second) })
	kept := clientConfig(ca, revoked)
	kept.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	if got := h.wire(t, kept).call(pb.AgentService_GetCaller_FullMethodName, &pb.GetCallerRequest{}); got != "0" {
		t.Fatalf("before the revocation: %q", got)
	}
	standing := h.dialTLS(t, ca, soon)
	defer standing.Close()
	if _, err := whoami(t, standing); err != nil {
		t.Fatal(err)
	}
	ca.Revoke(revoked)
	h.rereads(t)
	if c, err := tls.Dial("tcp", h.remote.Listener.Addr().String(), kept); err == nil {
		// With TLS 1.3 the refusal comes after the client has finished.
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a kept session after the revocation: %v", err)
		}
		c.Close()
	}
	waitFor(t, func() bool {
		h.server.Recheck() // as every minute
		return standing.GetState() != connectivity.Ready
	})
	if _, err := whoami(t, standing); status.Code(err) != codes.Unavailable {
		t.Errorf("after its time: %v", err)
	}
}

// Whoever is mapped by a common name is only that: no mapping makes an agent, or
// somebody of a certificate with an identity of its own.
func TestMappedCertificates(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	h.server.SetPolicy(&access.Policy{TrustDomain: "example.org", Certificates: []access.Mapping{{CommonName: "jenkins", Role: "read"}}})
	named := func(name string, uris bool) certstest.Change {
		return func(c *x509.Certificate) {
			if c.Subject.CommonName = name; !uris {
				c.URIs = nil
			}
		}
	}
	for name, row := range map[string]struct {
		change certstest.Change
		want   string
	}{
		"mapped":        {named("jenkins", false), "read/jenkins"},
		"other case":    {named("Jenkins", false), ""},
		"with identity": {named("jenkins", true), "stop/x"},
	} {
		conn := h.dialTLS(t, ca, ca.Client("stop", "x", row.change))
		who, err := whoami(t, conn)
		if who.GetActor() != row.want || (row.want == "") != (err != nil) {
			t.Errorf("%s: %v, %v", name, who, err)
		}
		conn.Close()
	}
}
