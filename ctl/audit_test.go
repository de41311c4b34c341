package ctl

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/chain"
)

// auditRecord is a short record, chained.
func auditRecord() [][]byte {
	entries := []chain.Entry{
		{Actor: "alice (uid 1000)", Role: "operator", From: "unix pid 7", Method: pb.UpgradeService_StartUpgrade_FullMethodName, Service: "web", Decision: chain.Allowed, Reason: "faster", RequestID: "r1", Detail: map[string]string{"artifact": digest8}},
		{Actor: "bob (uid 1001)", Role: "operator", From: "unix pid 8", Method: pb.SupervisorService_StopService_FullMethodName, Service: "web", Decision: chain.Allowed, Reason: "disk swap", RequestID: "r2"},
		{Actor: "ci/api", Role: "ci", From: "tls 10.0.0.5:4711", Method: pb.SupervisorService_StopService_FullMethodName, Service: "we\x1bb", Decision: chain.Denied, Why: "lacks the permission stop"},
		{From: "tls 10.0.0.9:4712", Method: "connect over the network", Decision: chain.Denied, Why: "x509: certificate signed by unknown authority"},
	}
	var lines [][]byte
	head := chain.Head{}
	for i, e := range entries {
		e.Seq, e.Prev, e.Time = int64(i+1), head.Chained(), noon.Add(time.Duration(i)*time.Minute)
		line := chain.Encode(e)
		head = chain.Head{Seq: e.Seq, Hash: chain.Hash(line)}
		lines = append(lines, line)
	}
	return lines
}

func auditLines(raw [][]byte) []auditLine {
	var out []auditLine
	for _, line := range raw {
		e, _ := chain.Decode(line)
		out = append(out, auditLine{line, e})
	}
	return out
}

func TestAuditList(t *testing.T) {
	a := newAgent(t)
	a.audit = auditRecord()
	all := strings.Join(auditTable(auditLines(a.audit)).lines(false), "\n") + "\n"
	golden(t, "audit.txt", all)
	for line, want := range map[string]string{
		"audit":                     all,
		"audit list":                all,
		"audit list --denied -n 1":  strings.Join(auditTable(auditLines(a.audit[3:])).lines(false), "\n") + "\n",
		"audit list --actor ci/api": strings.Join(auditTable(auditLines(a.audit[2:3])).lines(false), "\n") + "\n",
		"audit list --since 2100-01-01T00:00:00Z": "",
		"audit list --raw":                        string(bytes.Join(a.audit, []byte("\n"))) + "\n",
	} {
		if got := runs(t, a, ExitDone, line).out; got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", line, got, want)
		}
	}
	out := runs(t, a, ExitDone, "audit list -o json").out
	if strings.Count(out, "\n") != 5 || !strings.Contains(out, `"type":"result"`) || !strings.Contains(out, `"hash":"`+chain.Hash(a.audit[0])) || strings.Contains(out, "\x1b") {
		t.Errorf("got %s", out)
	}
}

// What there is of a service is shown at once, not with what is recorded of it next;
// and once.
func TestAuditFollow(t *testing.T) {
	a := newAgent(t)
	a.audit = auditRecord()
	got := a.gracectl(t, "audit", "list", "--service", "web", "-f")
	if got.code != ExitError || strings.Count(got.out, "\n") != 2 || !strings.Contains(got.out, "bob (uid 1001) StopService web") {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	followed, _ := a.requests[len(a.requests)-1].(*pb.ReadAuditRequest)
	if followed.GetAfter() != 4 || followed.GetService() != "web" {
		t.Errorf("followed %v", followed)
	}
}

// What has no request id is not that of an upgrade without one, and a long record is
// not read whole for a history.
func TestActs(t *testing.T) {
	a := newAgent(t)
	a.audit = auditRecord()
	e, err := chain.Decode(a.audit[1])
	if err != nil {
		t.Fatal(err)
	}
	e.RequestID = ""
	a.audit[1] = chain.Encode(e)
	a.on(&pb.ListUpgradesRequest{}, &pb.ListUpgradesResponse{Upgrades: []*pb.Upgrade{{Id: "u1"}}})
	a.on(&pb.ListGenerationsRequest{}, &pb.ListGenerationsResponse{})
	if got := runs(t, a, ExitDone, "history web"); !strings.Contains(got.out, "disk swap") {
		t.Errorf("got %s", got.out)
	}
	refused := e
	e.RequestID, refused.RequestID, refused.Decision = "r9", "r9", chain.Denied
	a.audit = [][]byte{chain.Encode(e), chain.Encode(refused)}
	if got := runs(t, a, ExitDone, "history web"); strings.Contains(got.out, "disk swap") {
		t.Errorf("what was refused in the end is told as done: %s", got.out)
	}
	read, _ := a.requests[len(a.requests)-1].(*pb.ReadAuditRequest)
	if read.GetService() != "web" || read.GetLast() != lastActs {
		t.Errorf("read %v", read)
	}
}

func TestAuditVerify(t *testing.T) {
	a := newAgent(t)
	a.audit = auditRecord()
	head := "4:" + chain.Hash(a.audit[3])
	if got := runs(t, a, ExitDone, "audit verify --known "+head).out; got != "in order: 4 lines, from 1 to 4\nhead "+head+"\n" {
		t.Errorf("got %s", got)
	}
	a.audit = a.audit[:3]
	if got := runs(t, a, ExitError, "audit verify --known "+head).out; !strings.Contains(got, "cut") || !strings.Contains(got, "NOT in order") {
		t.Errorf("got %s", got)
	}
	a.audit[1] = bytes.Replace(a.audit[1], []byte("bob"), []byte("eve"), 1)
	if got := runs(t, a, ExitError, "audit verify -o json").out; !strings.Contains(got, `"kind": "changed"`) || !strings.Contains(got, `"ok": false`) {
		t.Errorf("got %s", got)
	}
	runs(t, a, ExitUsage, "audit verify --known 4")
	runs(t, a, ExitUsage, "audit list -n -1")
	runs(t, a, ExitUsage, "audit list --since yesterday")
}

// Files are verified without an agent.
func TestAuditVerifyFiles(t *testing.T) {
	lines := auditRecord()
	dir := t.TempDir()
	write := func(name string, lines ...[]byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first, second := write("audit-1.jsonl", lines[:2]...), write("audit-3.jsonl", lines[2:]...)
	a := &agent{} // nobody is asked
	if got := runs(t, a, ExitDone, "audit verify "+second+" "+first).out; !strings.HasPrefix(got, "in order: 4 lines, from 1 to 4\n") {
		t.Errorf("got %s", got)
	}
	if got := runs(t, a, ExitDone, "audit verify "+second).out; !strings.HasPrefix(got, "in order: 2 lines, from 3 to 4\n") {
		t.Errorf("got %s", got)
	}
	runs(t, a, ExitError, "audit verify "+write("cr", append(lines[0], '\r'), lines[1]))
	long := write("long", bytes.Repeat([]byte("x"), chain.MaxLine+2))
	for _, path := range []string{long, filepath.Join(dir, "none"), "/dev/null/x", dir} {
		runs(t, a, ExitError, "audit verify "+path)
	}
	runs(t, a, ExitError, "audit verify "+write("no-record", []byte("hello")))
}

// runs runs a command line and wants its exit code.
func runs(t *testing.T, a *agent, code int, line string) ran {
	t.Helper()
	got := a.gracectl(t, strings.Fields(line)...)
	if got.code != code {
		t.Errorf("gracectl %s: exit code %d, %s%s", line, got.code, got.out, got.err)
	}
	return got
}
