package api_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	gracefleetv1 "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDialTargets(t *testing.T) {
	for target, want := range map[string]string{
		"unix:/run/graced.sock":   "",
		"unix:///run/graced.sock": "",
		"unix:graced.sock":        "",
		"unix://run/graced.sock":  "absolute path",
		"unix:":                   "not fit",
		"unix:/a?b":               "not fit",
		"host1:7000":              "no path of a local socket",
		"/run/graced.sock":        "no path of a local socket",
		"":                        "no path of a local socket",
	} {
		conn, err := api.Dial(target)
		if err == nil {
			conn.Close()
		}
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", target, err, want)
		}
	}
}

// flaky is away for the first calls of a method.
type flaky struct {
	gracefleetv1.UnimplementedSupervisorServiceServer
	gracefleetv1.UnimplementedArtifactServiceServer
	mu    sync.Mutex
	code  codes.Code
	after time.Duration
	left  int
	ids   []string
}

func (f *flaky) answer(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids = append(f.ids, id)
	if f.left--; f.left >= 0 {
		return (&api.Error{Code: f.code, Message: "away", RetryAfter: f.after}).GRPCStatus().Err()
	}
	return nil
}

func (f *flaky) StopService(_ context.Context, r *gracefleetv1.StopServiceRequest) (*gracefleetv1.StopServiceResponse, error) {
	return &gracefleetv1.StopServiceResponse{}, f.answer(r.GetRequestId())
}

func (f *flaky) DeleteArtifact(_ context.Context, r *gracefleetv1.DeleteArtifactRequest) (*gracefleetv1.DeleteArtifactResponse, error) {
	return &gracefleetv1.DeleteArtifactResponse{}, f.answer(r.GetRequestId())
}

func serve(t *testing.T, f *flaky) *grpc.ClientConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	gracefleetv1.RegisterSupervisorServiceServer(g, f)
	gracefleetv1.RegisterArtifactServiceServer(g, f)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	conn, err := api.Dial("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		<-done
	})
	return conn
}

func TestRetryKeepsTheRequestID(t *testing.T) {
	f := &flaky{code: codes.Unavailable, left: 2}
	client := gracefleetv1.NewSupervisorServiceClient(serve(t, f))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request := &gracefleetv1.StopServiceRequest{Name: "web"}
	for range 2 {
		if _, err := client.StopService(ctx, request); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.ids) != 4 || f.ids[0] == "" || f.ids[0] != f.ids[1] || f.ids[1] != f.ids[2] || f.ids[2] == f.ids[3] {
		t.Errorf("ids: %q, want three attempts with one id, then another", f.ids)
	}
	if request.GetRequestId() != "" {
		t.Error("the caller's request was changed")
	}
	request.RequestId = "mine"
	if _, err := client.StopService(ctx, request); err != nil || f.ids[4] != "mine" {
		t.Errorf("got %v, ids %q", err, f.ids)
	}
}

// A call that was refused for haste is made again, once it may be, with its id; so is
// one that nothing else would have repeated.
func TestHasteIsRepentedOf(t *testing.T) {
	f := &flaky{code: codes.ResourceExhausted, left: 2, after: time.Millisecond}
	conn := serve(t, f)
	if _, err := gracefleetv1.NewSupervisorServiceClient(conn).StopService(t.Context(), &gracefleetv1.StopServiceRequest{}); err != nil {
		t.Error(err)
	}
	if len(f.ids) != 3 || f.ids[0] != f.ids[2] {
		t.Errorf("ids: %q, want three attempts with one id", f.ids)
	}
	f.left = 1
	if _, err := gracefleetv1.NewArtifactServiceClient(conn).DeleteArtifact(t.Context(), &gracefleetv1.DeleteArtifactRequest{}); err != nil {
		t.Error(err)
	}
	for _, after := range []time.Duration{0, time.Hour} { // of no use, or beyond all patience
		f.left, f.after, f.ids = 1, after, nil
		_, err := gracefleetv1.NewSupervisorServiceClient(conn).StopService(t.Context(), &gracefleetv1.StopServiceRequest{})
		if e := api.FromStatus(err); e == nil || e.Code != codes.ResourceExhausted || e.RetryAfter != after || len(f.ids) != 1 {
			t.Errorf("%+v after %d attempts", e, len(f.ids))
		}
	}
	f.left, f.after = 1, time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := gracefleetv1.NewSupervisorServiceClient(conn).StopService(ctx, &gracefleetv1.StopServiceRequest{}); err == nil {
		t.Error("the caller's own limit was ignored")
	}
}

func TestOtherFailuresAreNotRetried(t *testing.T) {
	f := &flaky{code: codes.Aborted, left: 1}
	_, err := gracefleetv1.NewSupervisorServiceClient(serve(t, f)).StopService(t.Context(), &gracefleetv1.StopServiceRequest{})
	if status.Code(err) != codes.Aborted || len(f.ids) != 1 {
		t.Errorf("got %v after %d attempts", err, len(f.ids))
	}
}

func TestDeleteArtifactIsNotRetried(t *testing.T) {
	f := &flaky{code: codes.Unavailable, left: 1}
	_, err := gracefleetv1.NewArtifactServiceClient(serve(t, f)).DeleteArtifact(t.Context(), &gracefleetv1.DeleteArtifactRequest{})
	if status.Code(err) != codes.Unavailable || len(f.ids) != 1 {
		t.Errorf("got %v after %d attempts", err, len(f.ids))
	}
}
