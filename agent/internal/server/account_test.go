package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// A caller may make so many changes at once and so many a second; others are not
// touched by that.
func TestChangesAreBounded(t *testing.T) {
	a, now := newAccounts(), time.Now()
	for i := range changesAtOnce {
		if wait := a.change("x", now); wait != 0 {
			t.Fatalf("change %d has to wait for %v", i, wait)
		}
	}
	for range 1000 { // who is refused does not wait longer for that
		if wait := a.change("x", now); wait <= 0 || wait > time.Second/changesPerSecond {
			t.Fatalf("one too many has to wait for %v", wait)
		}
	}
	if wait := a.change("y", now); wait != 0 {
		t.Errorf("another has to wait for %v", wait)
	}
	done := 0
	for i := range 10_000 {
		if a.change("x", now.Add(time.Duration(i)*time.Millisecond)) == 0 {
			done++
		}
	}
	if done < 10*changesPerSecond-1 || done > 10*changesPerSecond+1 {
		t.Errorf("%d changes in 10 s", done)
	}
}

// Accounts of callers who are gone are forgotten, those of the busy are not.
func TestAccountsAreBounded(t *testing.T) {
	a := newAccounts()
	a.of("changer").changes = rate.NewLimiter(0, changesAtOnce) // never as good as new
	if a.change("changer", time.Now()) != 0 {
		t.Fatal("refused")
	}
	a.pace = rate.Inf // of those who come and go
	for i := range 10 * maxAccounts {
		a.frames(fmt.Sprint(i))
	}
	if n := len(a.all); n > maxAccounts {
		t.Errorf("%d accounts", n)
	}
	if a.all["changer"] == nil {
		t.Error("one that is used was forgotten")
	}
}

// Over the network too many changes are refused, with the time after which to ask
// again; reads, others and root are not.
func TestHastyCaller(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	conn := h.dialTLS(t, ca, ca.Client("operator", "alice"))
	defer conn.Close()
	upgrades := pb.NewUpgradeServiceClient(conn)
	abort := &pb.AbortUpgradeRequest{Service: "web"}
	var refused *api.Error
	for range 2 * changesAtOnce {
		if _, err := upgrades.AbortUpgrade(limited(t), abort); err != nil {
			refused = wantError(t, err, codes.ResourceExhausted, pb.Reason_REASON_RATE_LIMITED)
			break
		}
	}
	if refused == nil || refused.RetryAfter <= 0 || refused.RetryAfter > time.Second {
		t.Fatalf("never told to wait: %+v", refused)
	}
	asked := len(h.supervisor.asked)
	if asked < changesAtOnce {
		t.Errorf("refused after %d", asked)
	}
	if _, err := whoami(t, conn); err != nil {
		t.Errorf("a read: %v", err)
	}
	bob := h.dialTLS(t, ca, ca.Client("operator", "bob"))
	defer bob.Close()
	if _, err := pb.NewUpgradeServiceClient(bob).AbortUpgrade(limited(t), abort); err != nil {
		t.Errorf("another: %v", err)
	}
	for range 3 * changesAtOnce {
		if _, err := h.upgrades().AbortUpgrade(limited(t), abort); err != nil {
			t.Fatalf("whoever the agent runs as: %v", err)
		}
	}
	if !api.WaitAsTold(limited(t), refused) {
		t.Error("nothing was said of waiting")
	}
	if _, err := upgrades.AbortUpgrade(limited(t), abort); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

// Uploads under way are bounded, for each caller and in all, and those that ended
// make place.
func TestUploadsAtOnce(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	conn := h.dialTLS(t, ca, ca.Client("push", "ci"))
	defer conn.Close()
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	begin := func(i int) pb.ArtifactService_UploadArtifactClient {
		t.Helper()
		stream, err := pb.NewArtifactServiceClient(conn).UploadArtifact(ctx)
		if err != nil {
			t.Fatal(err)
		}
		head := header([]byte(fmt.Sprint("#!/bin/sh\n", i)), 0)
		if err := stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Header{Header: head}}); err != nil {
			t.Fatal(err)
		}
		return stream
	}
	for i := range maxUploadsPerCaller {
		begin(i)
	}
	waitFor(t, func() bool { return h.uploads() == maxUploadsPerCaller })
	_, err := begin(maxUploadsPerCaller).CloseAndRecv()
	if e := wantError(t, err, codes.ResourceExhausted, pb.Reason_REASON_TOO_MANY_UPLOADS); e.RetryAfter != uploadRetry {
		t.Errorf("ask again after %v", e.RetryAfter)
	}
	if _, err := h.upload(t, header(script(100), 0), script(100)); err != nil {
		t.Errorf("whoever the agent runs as: %v", err)
	}
	cancel()
	waitFor(t, func() bool { return h.uploads() == 0 })

	g := newGate(maxUploads, maxUploadsPerCaller)
	for i := range maxUploads {
		if _, err := g.take(fmt.Sprint(i), "uploads"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = g.take("one more", "uploads"); err == nil {
		t.Error("one more than all may have")
	}
}

func (h *host) uploads() int {
	h.server.uploads.mu.Lock()
	defer h.server.uploads.mu.Unlock()
	return h.server.uploads.open
}

// One source of handshakes leaves places for others.
func TestHandshakesOfOneSource(t *testing.T) {
	g := newGate(maxHandshakes, maxHandshakesPerSource)
	taken := 0
	for range 1000 {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		if _, err := g.enter("10.0.0.7", a); err == nil {
			taken++
		}
	}
	if _, err := g.enter("10.0.0.8", nil); err != nil || taken != maxHandshakesPerSource {
		t.Errorf("%d places for one, another: %v", taken, err)
	}
}

// lines counts what is logged, and what is said to be left out.
type lines struct {
	hclog.Logger
	mu      sync.Mutex
	n, left int
}

func (l *lines) Warn(_ string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	for i, a := range args {
		if a == "left_out_before" {
			l.left += args[i+1].(int)
		}
	}
}

func TestQuietLog(t *testing.T) {
	l := &lines{Logger: hclog.NewNullLogger()}
	q := newQuietLog(l)
	for range 1000 {
		q.warn("turned away", "error", errors.New("x"))
	}
	if l.n < refusalLinesAtOnce || l.n > refusalLinesAtOnce+1 || l.left != 0 {
		t.Errorf("%d lines", l.n)
	}
	before := l.n
	q.lines.bucket.SetLimit(rate.Inf)
	q.warn("turned away")
	if l.n != before+1 || l.left+l.n != 1001 {
		t.Errorf("%d lines, %d left out, of 1001", l.n, l.left)
	}
}
