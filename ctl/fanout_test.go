package ctl

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// numbered are hosts that nobody reaches.
func numbered(n int) []inventory.Host {
	hosts := make([]inventory.Host, n)
	for i := range hosts {
		hosts[i].Name = fmt.Sprintf("h%05d", i)
	}
	return hosts
}

func TestRepliesComeInOrderAndSoon(t *testing.T) {
	hosts := numbered(inFlight)
	first := make(chan struct{})
	n := 0
	err := fanOut(t.Context(), hosts, func(_ context.Context, h inventory.Host) (string, error) {
		if h.Name == hosts[len(hosts)-1].Name {
			<-first // would wait for ever, were the replies kept until the last
		}
		return h.Name + "!", nil
	}, func(r reply[string]) error {
		if r.host.Name != hosts[n].Name || r.answer != r.host.Name+"!" {
			t.Errorf("reply %d is %+v", n, r)
		}
		if n++; n == 1 {
			close(first)
		}
		return nil
	})
	if err != nil || n != len(hosts) {
		t.Errorf("%d replies, %v", n, err)
	}
}

// So many hosts are asked at once, and so many answers wait for that of a host before
// them.
func TestAskingIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		slow func(host int) bool
		want int64
	}{
		"asked at once": {func(int) bool { return true }, inFlight},
		// Besides those that wait, the slow one's and one that is to wait next.
		"waiting": {func(host int) bool { return host == 0 }, ahead + 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			hosts := numbered(3 * ahead)
			slow := map[string]bool{}
			for i, h := range hosts {
				slow[h.Name] = test.slow(i)
			}
			var asked, replies atomic.Int64
			goOn, done := make(chan struct{}), make(chan error, 1)
			go func() {
				done <- fanOut(t.Context(), hosts, func(_ context.Context, h inventory.Host) (int, error) {
					asked.Add(1)
					if slow[h.Name] {
						<-goOn
					}
					return 0, nil
				}, func(reply[int]) error {
					replies.Add(1)
					return nil
				})
			}()
			synctest.Wait()
			if n := asked.Load(); n != test.want || replies.Load() != 0 {
				t.Errorf("%s: %d asked, %d replies; want %d", name, n, replies.Load(), test.want)
			}
			close(goOn)
			if err := <-done; err != nil || replies.Load() != int64(len(hosts)) {
				t.Errorf("%s: %d replies, %v", name, replies.Load(), err)
			}
		})
	}
}

func TestAnErrorEndsIt(t *testing.T) {
	full := errors.New("disk full")
	var asked atomic.Int64
	err := fanOut(t.Context(), numbered(3*ahead), func(ctx context.Context, h inventory.Host) (int, error) {
		asked.Add(1)
		if h.Name != "h00000" {
			<-ctx.Done()
		}
		return 0, ctx.Err()
	}, func(r reply[int]) error {
		if r.host.Name != "h00000" {
			t.Errorf("%s after the error", r.host.Name)
		}
		return full
	})
	if !errors.Is(err, full) || asked.Load() != 3*ahead {
		t.Errorf("%v, %d asked", err, asked.Load())
	}
}
