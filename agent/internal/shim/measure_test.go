package shim

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/needs"
)

// TestFigures logs what a shim costs, and holds a generous bound on its memory.
func TestFigures(t *testing.T) {
	var spawned, started []time.Duration
	var private, threads int
	for range 20 {
		in := testIntent(t)
		begin := time.Now()
		c := spawnTest(t, in)
		spawned = append(spawned, time.Since(begin))
		l, err := c.Open(testContext(t), []service.Socket{tcpSocket(t, "web")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		l[0].File.Close()
		begin = time.Now()
		start(t, c, program(in, 1))
		started = append(started, time.Since(begin))
		await(t, c, EventReady)
		private, threads = privateKiB(t, c.Hello().State.PID)
	}
	slices.Sort(spawned)
	slices.Sort(started)
	t.Logf("spawn to connected %v, start to exec'd %v (medians of 20); private %d KiB, %d threads", spawned[10], started[10], private, threads)
	if private > 4<<10 {
		t.Errorf("a shim holds %d KiB of private memory", private)
	}
}

func privateKiB(t *testing.T, pid int) (kib, threads int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	needs.That(t, err == nil, "no smaps_rollup of a shim to read")
	for _, m := range regexp.MustCompile(`Private_\w+:\s+(\d+) kB`).FindAllStringSubmatch(string(b), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		kib += n
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	return kib, len(tasks)
}
