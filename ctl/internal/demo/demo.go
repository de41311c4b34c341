package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/gracefleet/gracefleet/ctl/internal/scratch"
	"github.com/gracefleet/gracefleet/e2e/load"
)

// Options of Run.
type Options struct {
	// Out shows the story; Animated adds a line that is redrawn.
	Out      io.Writer
	Animated bool
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// Rate of requests a second, half of them on connections of their own.
	Rate float64
	// Keep leaves the directory and says where it is.
	Keep bool
	// Stay has the hosts of a fleet run on when the story is told, until the context
	// ends.
	Stay bool
}

// Report is how the demo went.
type Report struct {
	Sent        int64         `json:"sent"`
	Answered    int64         `json:"answered"`
	Lost        int64         `json:"lost"`
	LongestGap  time.Duration `json:"longestGapNanoseconds"`
	FirstAnswer time.Duration `json:"firstAnswerNanoseconds"` // of a new generation, after the call
	LastStray   time.Duration `json:"lastStrayNanoseconds"`   // last connection to what was aborted, after the call
}

// ErrLost means that a request was lost.
var ErrLost = errors.New("requests were lost")

// cleanUpLimit bounds the end of a demo, also of an interrupted one.
const cleanUpLimit = 20 * time.Second

// Run tells the story. It returns an error when an act did not end as told, when
// a request was lost, or with ctx; everything it started is gone then.
func Run(ctx context.Context, o Options) (r Report, err error) {
	dir, err := directory()
	if err != nil {
		return r, err
	}
	s := &stage{screen: newScreen(o), dir: dir}
	defer func() {
		err = errors.Join(err, s.cleanUp(ctx, o.Keep, err != nil))
	}()
	if err := s.set(ctx, o); err != nil {
		return r, err
	}
	err = s.play(ctx, o)
	if s.load != nil {
		r = s.report(s.load.Stop())
	}
	if err == nil {
		err = r.lost()
	}
	return r, err
}

// directory is where a demo has everything.
func directory() (string, error) {
	if runtime.GOOS != "linux" {
		return "", errors.New("the demo runs agents, and agents run on Linux")
	}
	return os.MkdirTemp("/tmp", "gf")
}

// prepare finds or builds the programs, and makes every version of the sample.
func prepare(ctx context.Context, sc *screen, dir string) (scratch.Programs, error) {
	programs, err := scratch.Find(ctx, dir, func(text string) { sc.say("%s", text) })
	if err != nil {
		return programs, err
	}
	return programs, makeVersions(dir)
}

// lost is an error if a request was.
func (r Report) lost() error {
	if r.Lost == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d", ErrLost, r.Lost, r.Sent)
}

// set finds or builds the programs and starts the agent.
func (s *stage) set(ctx context.Context, o Options) error {
	s.screen.title("An agent in %s, without any privilege", s.dir)
	programs, err := prepare(ctx, s.screen, s.dir)
	if err != nil {
		return err
	}
	if s.port = o.Port; s.port == 0 {
		if s.port, err = freePort(); err != nil {
			return err
		}
	}
	if s.agent, err = scratch.Start(ctx, programs, s.dir); err != nil {
		return err
	}
	return s.connect()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *stage) startLoad(ctx context.Context, o Options) {
	s.run(ctx, o)
	s.screen.follow(s.load)
}

func (s *stage) run(ctx context.Context, o Options) {
	s.load = load.Run(ctx, load.Config{
		Address: fmt.Sprintf("127.0.0.1:%d", s.port), Fresh: o.Rate / 2, KeepAlive: o.Rate / 2, Connections: 10,
	})
}

func (s *stage) report(end load.Snapshot) Report {
	s.screen.stop()
	r := Report{FirstAnswer: s.firstAnswer, LastStray: s.lastStray}
	r.add(end)
	s.screen.result(r, end.Errors)
	return r
}

// add counts what one load saw.
func (r *Report) add(end load.Snapshot) {
	r.Sent += end.Fresh.Sent + end.KeepAlive.Sent
	r.Answered += end.Answered()
	r.Lost += end.Lost()
	r.LongestGap = max(r.LongestGap, end.Fresh.LongestGap, end.KeepAlive.LongestGap)
}

// cleanUp ends the host and removes the directory, also when the demo was interrupted.
func (s *stage) cleanUp(ctx context.Context, keep, failed bool) error {
	s.screen.stop()
	err := s.end(ctx)
	if keep || (failed && err != nil) {
		s.screen.say("everything is left in %s", s.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// end stops the load and the service, and ends the agent.
func (s *stage) end(ctx context.Context) error {
	if s.load != nil {
		s.load.Stop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
	defer cancel()
	err := s.endService(ctx)
	if s.agent != nil {
		err = errors.Join(err, s.agent.End(ctx))
	}
	return err
}
