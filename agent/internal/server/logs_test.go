package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// writeLog opens the log of a generation as its program would have it.
func (h *host) writeLog(t *testing.T, generation int, text string) *os.File {
	t.Helper()
	f, err := h.store.OpenLog("web", generation, os.Geteuid(), os.Getegid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}

func (h *host) readLogs(t *testing.T, r *pb.ReadLogsRequest) (lines []string, err error) {
	t.Helper()
	r.Service = "web"
	stream, err := h.services().ReadLogs(limited(t), r)
	for err == nil {
		var l *pb.ReadLogsResponse
		if l, err = stream.Recv(); err == nil {
			lines = append(lines, fmt.Sprintf("%d:%s", l.GetGeneration(), l.GetLine()))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return lines, err
}

func TestReadLogs(t *testing.T) {
	h := newHost(t)
	if lines, err := h.readLogs(t, &pb.ReadLogsRequest{}); err != nil || len(lines) != 0 {
		t.Fatalf("of nothing: %q, %v", lines, err)
	}
	h.writeLog(t, 1, "one\ntwo\n")
	h.writeLog(t, 2, "three\xff\n")
	for want, r := range map[string]*pb.ReadLogsRequest{
		`["1:one" "1:two" "2:three\xff"]`: {},
		`["1:two" "2:three\xff"]`:         {Lines: 2},
		`["1:one" "1:two"]`:               {Generation: 1},
	} {
		lines, err := h.readLogs(t, r)
		if got := fmt.Sprintf("%q", lines); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	_, err := h.readLogs(t, &pb.ReadLogsRequest{Generation: 9})
	wantError(t, err, codes.NotFound, pb.Reason_REASON_GENERATION_NOT_FOUND)
	_, err = h.readLogs(t, &pb.ReadLogsRequest{Lines: -1})
	wantViolation(t, err, "lines")
	h.supervisor.err = supervisor.ErrServiceNotFound
	_, err = h.readLogs(t, &pb.ReadLogsRequest{Follow: true})
	wantError(t, err, codes.NotFound, pb.Reason_REASON_SERVICE_NOT_FOUND)
}

func TestFollowLogsUntilTheAgentStops(t *testing.T) {
	h := newHost(t)
	f := h.writeLog(t, 1, "old\n")
	stream, err := h.services().ReadLogs(limited(t), &pb.ReadLogsRequest{Service: "web", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if l, err := stream.Recv(); err != nil || string(l.GetLine()) != "old" {
		t.Fatalf("got %v, %v", l, err)
	}
	if _, err := f.WriteString("new\n"); err != nil {
		t.Fatal(err)
	}
	if l, err := stream.Recv(); err != nil || string(l.GetLine()) != "new" {
		t.Fatalf("got %v, %v", l, err)
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantError(t, err, codes.Unavailable, 0)
}
