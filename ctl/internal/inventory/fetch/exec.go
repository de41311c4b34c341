package fetch

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// execLimit is how long a program may take.
const execLimit = 30 * time.Second

// program prints an inventory, as JSON or YAML. It gets the caller's environment and
// an empty standard input.
type program struct {
	argv  []string
	limit time.Duration
}

var errTooLong = errors.New("it took too long")

func (p program) Read(ctx context.Context) (*inventory.Inventory, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, errTooLong)
	defer cancel()
	out, said := &bounded{limit: inventory.MaxBytes}, &tail{}
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, said
	// What it started ends with it: a group of its own is killed as a whole.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// Somebody else may have kept its output open.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case out.full:
		err = fmt.Errorf("it printed more than %d bytes", inventory.MaxBytes)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if errors.Is(err, errTooLong) {
		err = fmt.Errorf("%w, more than %v", err, p.limit)
	}
	if err != nil {
		return nil, fmt.Errorf("inventory program %s: %w%s", p.argv[0], err, said.words())
	}
	list, err := inventory.Parse("exec:"+p.argv[0], out.data)
	if err != nil && len(out.data) == 0 {
		return nil, fmt.Errorf("inventory program %s printed nothing%s", p.argv[0], said.words())
	}
	return list, err
}

// bounded takes so many bytes, and then no more: the writer is told, and ends.
type bounded struct {
	data  []byte
	limit int
	full  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > b.limit {
		b.full = true
		return 0, errors.New("too much")
	}
	b.data = append(b.data, p...)
	return len(p), nil
}
