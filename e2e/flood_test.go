//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// flood is an attack on an agent from a process of its own, which shares neither
// memory nor a scheduler with those who measure.
type flood struct {
	cmd   *exec.Cmd
	tells *strings.Builder
}

const (
	floodKind    = "GRACEFLEET_TEST_FLOOD"
	floodAddress = "GRACEFLEET_TEST_FLOOD_ADDRESS"
	floodFiles   = "GRACEFLEET_TEST_FLOOD_FILES"
	floodCount   = "GRACEFLEET_TEST_FLOOD_COUNT"
)

// startFlood begins an attack and returns once it is under way.
func startFlood(t testing.TB, kind, address string, files certstest.Files, count int) *flood {
	t.Helper()
	f := &flood{cmd: exec.Command(os.Args[0], "-test.run=^TestFlooder$"), tells: &strings.Builder{}}
	f.cmd.Env = append(os.Environ(), "GOMAXPROCS=1", floodKind+"="+kind, floodAddress+"="+address,
		floodFiles+"="+strings.Join([]string{files.Cert, files.Key, files.CA}, ","), floodCount+"="+strconv.Itoa(count))
	begun := make(chan struct{})
	f.cmd.Stderr = &firstWrite{heard: begun}
	f.cmd.Stdout = f.tells
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-begun:
	case <-time.After(awaitLimit):
		t.Error("the attack did not begin")
	}
	return f
}

// end ends the attack and returns what it has to tell.
func (f *flood) end() string {
	_ = f.cmd.Process.Signal(os.Interrupt)
	_ = f.cmd.Wait() // it was told to end
	said, _, _ := strings.Cut(f.tells.String(), "\n")
	return said
}

// TestFlooder is the attacking process.
func TestFlooder(t *testing.T) {
	kind := os.Getenv(floodKind)
	if kind == "" {
		return // an ordinary run
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	count, err := strconv.Atoi(os.Getenv(floodCount))
	if err != nil {
		t.Fatal(err)
	}
	address, files := os.Getenv(floodAddress), strings.Split(os.Getenv(floodFiles), ",")
	var done atomic.Int64
	var all sync.WaitGroup
	if kind == "watch" {
		watchIdly(t, address, count, &done)
		count = 0
	}
	for i := range count {
		all.Go(func() {
			for ctx.Err() == nil {
				switch kind {
				case "reset":
					resetStreams(ctx, address, files, &done)
				case "handshake":
					halfOpen(ctx, address, i%2 == 0, &done)
				}
			}
		})
	}
	for done.Load() < int64(count) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "under way")
	begin, before := time.Now(), done.Load()
	<-ctx.Done()
	fmt.Printf("%.0f a second\n", float64(done.Load()-before)/time.Since(begin).Seconds())
	all.Wait()
}

// resetStreams opens and resets streams as fast as the agent reads them
// (CVE-2023-44487).
func resetStreams(ctx context.Context, address string, files []string, done *atomic.Int64) {
	conn, err := dialFlood(ctx, address, files)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	var frames bytes.Buffer
	framer := http2.NewFramer(&frames, nil)
	frames.WriteString(http2.ClientPreface)
	_ = framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for id := uint32(1); id < 1<<30; {
		for range 100 {
			block.Reset()
			for _, f := range [][2]string{
				{":method", "POST"},
				{":scheme", "http"},
				{":authority", "x"},
				{"content-type", "application/grpc"},
				{"te", "trailers"},
				{":path", pb.SupervisorService_WatchService_FullMethodName},
			} {
				_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
			_ = framer.WriteRSTStream(id, http2.ErrCodeCancel)
			id += 2
		}
		if _, err := conn.Write(frames.Bytes()); err != nil {
			return
		}
		frames.Reset()
		done.Add(100)
	}
}

// watchIdly watches without reading what comes, once it has begun.
func watchIdly(t *testing.T, address string, count int, done *atomic.Int64) {
	t.Helper()
	for range count / perConnection {
		conn, err := api.Dial("unix:" + address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		for range perConnection {
			stream, err := pb.NewSupervisorServiceClient(conn).WatchService(t.Context(), &pb.WatchServiceRequest{Name: "web"})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
			done.Add(1)
		}
	}
}

// dialFlood connects as somebody whom the agent lets in: locally, or with a
// certificate.
func dialFlood(ctx context.Context, address string, files []string) (net.Conn, error) {
	if strings.HasPrefix(address, "/") {
		return (&net.Dialer{}).DialContext(ctx, "unix", address)
	}
	pair, err := tls.LoadX509KeyPair(files[0], files[1])
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	return d.DialContext(ctx, "tcp", address)
}

// halfOpen holds a place among the handshakes until it is taken away: silently, or
// by a ClientHello that never ends.
func halfOpen(ctx context.Context, address string, silent bool, done *atomic.Int64) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	done.Add(1)
	if silent {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	hello := []byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3} // the first of 256 bytes
	for i := 0; ; i++ {
		if _, err := conn.Write(hello[i%len(hello) : i%len(hello)+1]); err != nil {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// askLocally is what gracectl status does: a connection of its own, and one call.
func askLocally(ctx context.Context, a *harness.Agent) (time.Duration, error) {
	begin := time.Now()
	conn, err := api.Dial("unix:" + a.Socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_, err = pb.NewSupervisorServiceClient(conn).GetService(ctx, &pb.GetServiceRequest{Name: "web"})
	return time.Since(begin), err
}

// Somebody who floods the agent, with a certificate or without one, keeps nobody
// from the local socket.
func TestFloodsSpareTheLocalSocket(t *testing.T) {
	for name, c := range map[string]struct {
		kind  string
		count int
	}{
		"streams that are reset": {"reset", 32},
		"half-open handshakes":   {"handshake", 1000},
	} {
		t.Run(name, func(t *testing.T) {
			ca := certstest.NewCA(t)
			address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
			s := start(t, "runtime", signalDrain, listening(address, ca.Agent("web-1"))...)
			l := s.load(rate(), rate(), nil)
			f := startFlood(t, c.kind, address, ca.ClientFiles("read", "eve"), c.count)
			var took []time.Duration
			for range 100 {
				d, err := askLocally(t.Context(), s.Agent)
				if err != nil {
					t.Errorf("during the flood: %v", err)
				}
				took = append(took, d)
			}
			// Another host gets in, too; this one once the flood is over.
			if err := handshakeFrom("127.0.0.2", address, ca.Client("read", "alice")); err != nil {
				t.Errorf("from another address: %v", err)
			}
			s.CtlOK(t, "upgrade", "web", harness.Program(t, "runtime", "v2"))
			answered(t, l, 50)
			figures := f.end()
			slices.Sort(took)
			t.Logf("%d answers of the local socket: p50 %v, p99 %v, max %v; the flood: %s", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], figures)
			alice := &remote{Agent: s.Agent, t: t, address: address, files: ca.ClientFiles("read", "alice")}
			alice.until(0, "status", "web")
			unharmed(t, l)
			if n := strings.Count(s.Log(), "a caller "); n > 100 {
				t.Errorf("%d lines of the log are about those who were turned away", n)
			}
		})
	}
}

// handshakeFrom connects from an address of this host and waits for the agent's
// first bytes: only then has it taken the certificate.
func handshakeFrom(ip, address string, cert tls.Certificate) error {
	d := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: awaitLimit},
		Config:    &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{"h2"}},
	}
	conn, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(awaitLimit)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 9))
	return err
}
