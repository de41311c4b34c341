package ctl

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// meanwhile runs a command, and does something once its word has come to every host.
func (f *fleet) meanwhile(t *testing.T, command string, do func()) ran {
	t.Helper()
	before := map[*agent]int64{}
	for _, a := range f.agents {
		before[a], _ = a.rollouts.words()
	}
	ended := make(chan ran, 1)
	go func() { ended <- f.gracectl(t, command) }()
	for _, a := range f.agents {
		for {
			words, changed := a.rollouts.words()
			if words > before[a] {
				break
			}
			<-changed
		}
	}
	do()
	return <-ended
}

// lapse has every lease end, lease gives them to a driver that has died, and renew lets
// every driver ask once more.
func (f *fleet) lapse() {
	for _, a := range f.agents {
		a.rollouts.lapse()
	}
}

func (f *fleet) lease() {
	for _, a := range f.agents {
		a.rollouts.lease()
	}
}

func (f *fleet) renew() {
	for _, a := range f.agents {
		a.rollouts.renew()
	}
}

// until runs a command, and interrupts it once it has said something on standard error.
func (f *fleet) until(t *testing.T, text, line string) ran {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	return f.when(t, ctx, line, text, cancel)
}

// when runs a command, and does something once it has said something on standard error,
// which it must within a minute.
func (f *fleet) when(t *testing.T, ctx context.Context, line, text string, do func()) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var out strings.Builder
	told := &trigger{on: text, do: do}
	code := Run(ctx, strings.Fields(line), Stdio{In: strings.NewReader(""), Out: &out, Err: told, Getenv: func(k string) string {
		return map[string]string{"GRACECTL_INVENTORY": f.file}[k]
	}})
	if !told.was {
		t.Errorf("%s does not say %q: %s", line, text, told.text())
	}
	return ran{code, out.String(), told.text()}
}

func (f *fleet) claims() (all []*pb.ClaimRolloutRequest) {
	for _, a := range f.agents {
		all = append(all, asked[*pb.ClaimRolloutRequest](a)...)
	}
	return all
}

// trigger does something once a text was written.
type trigger struct {
	mu  sync.Mutex
	b   strings.Builder
	on  string
	do  func()
	was bool
}

func (w *trigger) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	if !w.was && strings.Contains(w.b.String(), w.on) {
		w.was = true
		w.do()
	}
	return len(p), nil
}

func (w *trigger) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}
