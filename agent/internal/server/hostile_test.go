package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// raw makes a call of bytes that no client of ours would send, and returns its
// grpc-status.
func (h *host) raw(t *testing.T, method string, headers map[string]string, body []byte) (grpcStatus, message string) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", h.socket)
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(limited(t), http.MethodPost, "http://agent"+method, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body) // the status comes behind it, or instead
	for _, where := range []http.Header{answer.Trailer, answer.Header} {
		if s := where.Get("Grpc-Status"); s != "" {
			return s, where.Get("Grpc-Message")
		}
	}
	return "", answer.Status
}

// framed is a message as gRPC sends it.
func framed(compressed byte, length int, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(length)), message...)
}

// Whatever bytes come instead of a request are answered with the code for it, and
// touch nothing.
func TestHostileMessages(t *testing.T) {
	h := newHost(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 64<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	broken := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "web\xff")
	for name, c := range map[string]struct {
		headers map[string]string
		body    []byte
		status  string
	}{
		"a bomb":                      {map[string]string{"Grpc-Encoding": "gzip"}, framed(1, bomb.Len(), bomb.Bytes()), "12"},
		"compressed by nothing":       {nil, framed(1, 3, []byte("abc")), "13"},
		"compressed by nobody knows":  {map[string]string{"Grpc-Encoding": "rot13"}, framed(1, 3, []byte("abc")), "12"},
		"5 MiB announced":             {nil, framed(0, 5<<20, nil), "8"},
		"5 MiB":                       {nil, framed(0, 5<<20, make([]byte, 5<<20)), "8"},
		"4 GiB announced":             {nil, framed(0, 1<<32-1, nil), "8"},
		"less than announced":         {nil, framed(0, 1000, []byte("abc")), "13"},
		"a header without its length": {nil, []byte{0, 0}, "13"},
		"another flag":                {nil, framed(0x40, 0, nil), "13"},
		"invalid UTF-8":               {nil, framed(0, len(broken), broken), "13"},
		"no message":                  {nil, nil, "13"},
	} {
		t.Run(name, func(t *testing.T) {
			got, message := h.raw(t, pb.SupervisorService_StopService_FullMethodName, c.headers, c.body)
			if got != c.status {
				t.Errorf("status %q (%s), want %s", got, message, c.status)
			}
		})
	}
	for method, want := range map[string]string{
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      "12",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "12",
		"/grpc.channelz.v1.Channelz/GetServers":                          "12",
		"/":                                                              "12",
		"/../gracefleet.v1.SupervisorService/StopService":                "12",
	} {
		if got, message := h.raw(t, method, nil, framed(0, 0, nil)); got != want {
			t.Errorf("%s: status %q (%s), want %s", method, got, message, want)
		}
	}
	if asked := h.supervisor.last(); asked != nil {
		t.Errorf("the supervisor was asked for %v", asked)
	}
}

// Nothing decompresses messages, so that none can be larger than it looks.
func TestNoCompression(t *testing.T) {
	for _, name := range []string{"gzip", "deflate", "snappy", "zstd"} {
		if encoding.GetCompressor(name) != nil {
			t.Errorf("%s is registered", name)
		}
	}
}

// A field that only a newer client knows is passed over: the contract grows.
func TestUnknownFields(t *testing.T) {
	h := newHost(t)
	m, err := proto.Marshal(&pb.GetServiceRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	m = protowire.AppendVarint(protowire.AppendTag(m, 5000, protowire.VarintType), 7)
	if got, message := h.raw(t, pb.SupervisorService_GetService_FullMethodName, nil, framed(0, len(m), m)); got != "0" || h.supervisor.last() != "web" {
		t.Errorf("status %q (%s), asked for %v", got, message, h.supervisor.last())
	}
}

// Bytes that are no HTTP/2, or no TLS, end the connection.
func TestHostileBytes(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	remote := h.remote.Listener.Addr()
	for name, bytes := range map[string][]byte{
		"HTTP/1.1":             []byte("GET / HTTP/1.1\r\nHost: agent\r\nUser-Agent: x\r\n\r\n"),
		"garbage":              slices.Repeat([]byte{0xee, 0x01, 0x02}, 100),
		"zeros":                make([]byte, 1000),
		"SSH":                  []byte("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
		"TLS 1.0's hello":      slices.Concat([]byte{22, 3, 1, 0, 60, 1, 0, 0, 56, 3, 1}, make([]byte, 54)),
		"a frame of 16 MiB":    append([]byte(http2.ClientPreface), 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1),
		"no settings":          append([]byte(http2.ClientPreface), 0, 0, 0, 1, 5, 0, 0, 0, 1),
		"settings of 5 bytes":  append([]byte(http2.ClientPreface), 0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5),
		"headers of no stream": append([]byte(http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 0, 0, 1, 1, 4, 0, 0, 0, 0, 0x82),
		"headers that lie":     append([]byte(http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 0, 0, 2, 1, 4, 0, 0, 0, 1, 0xff, 0xff),
	} {
		for _, at := range []net.Addr{&net.UnixAddr{Net: "unix", Name: h.socket}, remote} {
			t.Run(name+" by "+at.Network(), func(t *testing.T) {
				c, err := net.Dial(at.Network(), at.String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write(bytes); err != nil {
					t.Fatal(err)
				}
				if err := c.SetDeadline(time.Now().Add(handshakeTimeout - time.Second)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
					t.Errorf("still connected: %v", err)
				}
			})
		}
	}
	if asked := h.supervisor.last(); asked != nil {
		t.Errorf("the supervisor was asked for %v", asked)
	}
	if _, err := whoami(t, h.conn); err != nil {
		t.Error(err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// Names that are none, in any field that has one.
func TestHostileNames(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"", "../x", "a/b", "..", ".", "-x", "X", "web\x00", "web ", "\u202eweb", strings.Repeat("x", 64)} {
		_, err := h.services().StopService(limited(t), &pb.StopServiceRequest{Name: name})
		wantViolation(t, err, "name")
	}
	if asked := h.supervisor.last(); asked != nil {
		t.Errorf("the supervisor was asked for %v", asked)
	}
}
