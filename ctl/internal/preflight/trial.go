package preflight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/load"
	"github.com/gracefleet/gracefleet/internal/handover"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// The checks, in the order in which they are made.
const (
	checkStart   = "starts and gets ready"
	checkPorts   = "listens on nothing of its own"
	checkFlags   = "leaves O_NONBLOCK alone"
	checkBeside  = "runs beside itself"
	checkLoad    = "loses nothing in an upgrade"
	checkDrain   = "ends by its drain signal"
	checkParent  = "leaves its parent alone"
	checkPath    = "leaves unix paths alone"
	checkSpeaker = "speaks for itself"
	checkRest    = "leaves nothing behind"
)

const (
	// drainLimit bounds the drain of a trial; nobody waits for clients here.
	drainLimit = 10 * time.Second
	readyLimit = 30 * time.Second
	loadRate   = 100 // requests a second, of each kind
	loadFor    = time.Second
)

// Agent is the one in the room.
type Agent struct {
	Conn *grpc.ClientConn
	Log  string // path of its log
}

// Trial tries a service with an agent in a room. The error says that the trial
// itself could not be made.
func Trial(ctx context.Context, a Agent, name string, spec *pb.ServiceSpec, tell func(string)) (*Report, error) {
	conn := a.Conn
	t := &trial{
		agentLog: a.Log, report: Report{Service: name}, tell: tell, services: pb.NewSupervisorServiceClient(conn), upgrades: pb.NewUpgradeServiceClient(conn),
	}
	t.spec = proto.Clone(spec).(*pb.ServiceSpec)
	t.modify()
	err := t.run(ctx)
	// The agent's cgroups are seen outside the room: they go with the service.
	if err := errors.Join(err, t.forget(context.WithoutCancel(ctx))); err != nil {
		return nil, err
	}
	return &t.report, nil
}

type trial struct {
	agentLog string
	dialect  handover.Dialect
	report   Report
	tell     func(string)
	spec     *pb.ServiceSpec
	services pb.SupervisorServiceClient
	upgrades pb.UpgradeServiceClient
}

// modify leaves out what makes an upgrade wait, and restarts, which would hide
// what goes wrong.
func (t *trial) modify() {
	t.spec.Upgrade = &pb.UpgradePolicy{Soak: durationpb.New(0)}
	t.spec.Restart = &pb.RestartPolicy{Policy: "never"}
	if t.spec.Drain == nil {
		t.spec.Drain = &pb.DrainPolicy{}
	}
	t.spec.Drain.Patience = nil
	if d := t.spec.Drain.GetTimeout(); d == nil || d.AsDuration() > drainLimit {
		t.spec.Drain.Timeout = durationpb.New(drainLimit)
	}
	if t.spec.Readiness == nil {
		t.spec.Readiness = &pb.Readiness{}
	}
	if d := t.spec.Readiness.GetTimeout(); d == nil || d.AsDuration() > readyLimit {
		t.spec.Readiness.Timeout = durationpb.New(readyLimit)
	}
}

func (t *trial) run(ctx context.Context) error {
	t.tell("starting it")
	if _, err := t.services.ApplyService(ctx, &pb.ApplyServiceRequest{Name: t.report.Service, Spec: t.spec}); err != nil {
		return err
	}
	first, err := t.ended(ctx)
	if err != nil {
		return err
	}
	// A preset may have said it.
	t.dialect, _ = handover.FindDialect(first.GetService().GetSpec().GetHandover().GetDialect())
	if first.GetUpgrade().GetState() != pb.Upgrade_STATE_SUCCEEDED {
		t.notStarted(first.GetUpgrade())
		return t.heard(ctx)
	}
	t.report.ok(checkStart, "ready after "+took(first.GetUpgrade()))
	t.look(active(first).GetPid())

	t.tell("starting it once more beside itself, under load")
	l := t.load(ctx)
	second, err := t.restart(ctx)
	if err != nil {
		return err
	}
	t.beside(second.GetUpgrade())
	t.loaded(l)
	if second.GetUpgrade().GetState() == pb.Upgrade_STATE_SUCCEEDED {
		t.tell("waiting for the first to end")
		if err := t.drained(ctx); err != nil {
			return err
		}
	} else {
		t.report.skip(checkDrain, "there is no second one")
	}
	return t.heard(ctx)
}

// notStarted looks for the traps that keep a program from starting at all.
func (t *trial) notStarted(up *pb.Upgrade) {
	remedy := "read its last words; its own command line and configuration must work with the sockets it is given"
	text := strings.ToLower(words(up))
	switch {
	case strings.Contains(text, "address already in use") || strings.Contains(text, "eaddrinuse") || strings.Contains(text, "bind()"):
		remedy = "it binds instead of using the socket it is given: the dialect or preset does not fit, or its address is not written as in the service file"
	case len(undeclared(t.addresses())) > 0:
		remedy = "it listens on " + strings.Join(undeclared(t.addresses()), ", ") + " instead of the declared socket: its addresses must be those of the service file"
	case up.GetReason() == pb.Reason_REASON_READY_TIMEOUT:
		remedy = "it runs, and nothing proves that it is ready: see ready: and gracectl explain presets"
	}
	t.report.add(Problem, checkStart, words(up), remedy)
}

// look is what the kernel says of the program that runs.
func (t *trial) look(pid int32) {
	if own := undeclared(t.addresses()); len(own) > 0 {
		t.report.add(Warning, checkPorts, "it listens by itself on "+strings.Join(own, ", "),
			"declare them as sockets: two generations cannot both have them, and connections there are not drained")
	} else {
		t.report.ok(checkPorts, "")
	}
	if blocking(pid) {
		t.report.add(Warning, checkFlags, "it cleared O_NONBLOCK on its listener, a flag that it shares with whoever has the socket",
			"gracefleet gives each generation a socket of its own, so only this program is concerned")
	} else {
		t.report.ok(checkFlags, "")
	}
}

func (t *trial) beside(up *pb.Upgrade) {
	if up.GetState() == pb.Upgrade_STATE_SUCCEEDED {
		t.report.ok(checkBeside, "ready after "+took(up))
		return
	}
	t.report.add(Problem, checkBeside, words(up),
		"pid files, locks and directories of its own collide: give them {generation_dir}; declare its ports as sockets; or have the old one end first, by upgrade: {overlap: none}")
}

// drained waits for the first generation's end.
func (t *trial) drained(ctx context.Context) error {
	st, err := t.await(ctx, func(st *pb.ServiceStatus) bool { return over(generation(st, 1)) })
	if err != nil {
		return err
	}
	signal := st.GetService().GetSpec().GetDrain().GetSignal()
	exit := generation(st, 1).GetExit()
	switch {
	case exit.GetSignal() == int32(syscall.SIGKILL):
		t.report.add(Problem, checkDrain, fmt.Sprintf("it was still there %v after %s and was killed", t.spec.Drain.Timeout.AsDuration(), signal),
			"say drain.signal, or a longer drain.timeout; see gracectl explain presets")
	case exit.GetCode() != 0:
		t.report.add(Warning, checkDrain, fmt.Sprintf("%s ended it with status %d", signal, exit.GetCode()), "")
	default:
		t.report.ok(checkDrain, signal)
	}
	return nil
}

// load asks the first tcp socket for answers, if it speaks HTTP.
func (t *trial) load(ctx context.Context) *load.Load {
	for _, address := range t.addresses() {
		if !speaksHTTP(ctx, address) {
			continue
		}
		l := load.Run(ctx, load.Config{Address: address, Fresh: loadRate, KeepAlive: loadRate, Connections: 10})
		_ = pause.For(ctx, loadFor)
		return l
	}
	_ = pause.For(ctx, loadFor) // some habits show late
	return nil
}

func (t *trial) loaded(l *load.Load) {
	if l == nil {
		t.report.skip(checkLoad, "no socket answers HTTP")
		return
	}
	seen := l.Stop()
	if seen.Lost() == 0 {
		t.report.ok(checkLoad, fmt.Sprintf("%d requests", seen.Answered()))
		return
	}
	detail := fmt.Sprintf("%d of %d requests were lost", seen.Lost(), seen.Answered()+seen.Lost())
	if len(seen.Errors) > 0 {
		detail += ": " + seen.Errors[0]
	}
	t.report.add(Problem, checkLoad, detail, "drain.mode: patient tells it to end only when its clients have left")
}

// heard goes through what the agent noticed.
func (t *trial) heard(ctx context.Context) error {
	stream, err := t.services.WatchEvents(ctx, &pb.WatchEventsRequest{Service: t.report.Service, NoFollow: true})
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		t.notice(m.GetEvent().GetNotice().GetMessage(), told)
	}
	t.paths()
	for _, check := range []string{checkParent, checkSpeaker, checkRest} {
		if !told[check] {
			t.report.ok(check, "")
		}
	}
	return nil
}

// paths looks whether the agent had to put a path back.
func (t *trial) paths() {
	log, _ := os.ReadFile(t.agentLog) // nothing there is nothing told
	for line := range strings.Lines(string(log)) {
		if _, what, ok := strings.Cut(line, "somebody removed a public path"); ok {
			t.report.add(Warning, checkPath, "it removed a path that it was given"+strings.TrimRight(what, "\n"),
				"the agent puts it back; let the program leave the sockets it is given")
			return
		}
	}
	t.report.ok(checkPath, "")
}

func (t *trial) notice(message string, told map[string]bool) {
	for _, n := range []struct {
		words, check, remedy string
	}{
		{"to its parent: absorbed", checkParent, "absorbed here; under anything else it would end its parent. A preset of its library takes it for ready"},
		{"does not count: it is not the program's main process", checkSpeaker, "run the program itself as command, without a wrapper that forks"},
		{"processes outlived the program", checkRest, "they are killed, with what they do: let the program wait for them"},
	} {
		if !strings.Contains(message, n.words) || told[n.check] {
			continue
		}
		told[n.check] = true
		if n.check == checkParent && len(t.dialect.ParentSignals) > 0 {
			t.report.ok(n.check, "it signals its parent, as "+t.dialect.Name+" programs do")
			continue
		}
		t.report.add(Warning, n.check, message, n.remedy)
	}
}

// addresses are the declared tcp ones, as HOST:PORT.
func (t *trial) addresses() []string {
	var out []string
	for _, s := range t.spec.GetSockets() {
		if a, ok := strings.CutPrefix(s.GetListen(), "tcp://"); ok {
			if strings.HasPrefix(a, ":") || strings.HasPrefix(a, "*:") {
				a = "0.0.0.0" + a[strings.Index(a, ":"):]
			}
			out = append(out, a)
		}
	}
	return out
}

func speaksHTTP(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return false
	}
	once := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := once.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode < http.StatusInternalServerError
}
