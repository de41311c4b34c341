package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cleanlyBack is the exit code of a rollout that failed and left nothing behind.
const cleanlyBack = 4

// play tells the acts in order.
func (f *fleet) play(ctx context.Context, o Options) error {
	f.screen.act("1. A service on three hosts", "gracectl apply -f sample.yaml --all")
	if _, err := f.gracectl(ctx, 0, "apply", "-f", "sample.yaml", "--all"); err != nil {
		return err
	}
	f.startLoad(ctx, o)
	f.screen.say("%.0f requests a second from now on, none is ever repeated", o.Rate)
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	done, err := f.typed(ctx, "2. A rollout: one host first, then the others", 0, "upgrade", "sample", "./sample-v2", "--all", "--canary", "1", "-m", "the new release")
	if err != nil {
		return err
	}
	if _, err := f.typed(ctx, "3. A bad release: it reaches one host, and is taken back there", cleanlyBack, "upgrade", "sample", "./sample-v3", "--all", "--canary", "1"); err != nil {
		return err
	}
	if _, err := f.typed(ctx, "4. Second thoughts about the good one: each host returns to what it ran", 0, "rollback", "sample", "--rollout", done); err != nil {
		return err
	}
	if _, err := f.typed(ctx, "5. Where everybody is", 0, "hosts"); err != nil {
		return err
	}
	return rest(ctx, time.Second)
}

// typed is an act of one command.
func (f *fleet) typed(ctx context.Context, act string, want int, args ...string) (rollout string, err error) {
	f.screen.act(act, commandLine(args))
	return f.gracectl(ctx, want, args...)
}

// commandLine is what one would type.
func commandLine(args []string) string {
	words := slices.Clone(args)
	for i, w := range words {
		if strings.Contains(w, " ") {
			words[i] = "'" + w + "'"
		}
	}
	return "gracectl " + strings.Join(words, " ")
}

// gracectl runs this program as anybody would, and shows what it says. An exit code
// other than the one that the act is about is an error. It returns the id of the
// rollout that was spoken of.
func (f *fleet) gracectl(ctx context.Context, want int, args ...string) (rollout string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	// On Ctrl-C the terminal tells it, too: it detaches, and the hosts are cleaned up.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGINT) }
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "GRACECTL_INVENTORY="+f.inventory(), "GRACECTL_CONTEXT=", "GRACECTL_AGENT=")
	out := &indented{to: f.screen}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	out.end()
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", errors.Join(errors.New("interrupted"), context.Cause(ctx))
	case err != nil && !errors.As(err, &ended):
		return "", err
	case cmd.ProcessState.ExitCode() != want:
		return "", fmt.Errorf("%s ended with exit code %d, want %d", commandLine(args), cmd.ProcessState.ExitCode(), want)
	}
	return out.rollout, nil
}

// rolloutID is the form of a rollout's id.
var rolloutID = regexp.MustCompile(`\br-[0-9a-f]{12}\b`)

// indented shows lines of another program as the screen's own, and remembers the last
// rollout that they are about.
type indented struct {
	to      *screen
	rest    []byte
	rollout string
}

var _ io.Writer = (*indented)(nil)

func (w *indented) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		w.say(string(line))
		w.rest = rest
	}
}

func (w *indented) say(line string) {
	w.to.say("%s", line)
	if id := rolloutID.FindString(line); id != "" {
		w.rollout = id
	}
}

// end shows a last line that no newline ended.
func (w *indented) end() {
	if len(w.rest) > 0 {
		w.say(string(w.rest))
	}
}
