package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// orphanRest is far longer than it takes the agent to collect a child of its own.
const orphanRest = time.Second

// reapOrphans collects what ended and nobody waits for: to the first process of a
// container fall programs that lost their shim.
func reapOrphans(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	rest := time.NewTimer(orphanRest)
	defer rest.Stop()
	for {
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
		before := endedChildren()
		rest.Reset(orphanRest)
		select {
		case <-rest.C:
		case <-ctx.Done():
			return
		}
		for _, pid := range endedChildren() {
			if slices.Contains(before, pid) {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
		}
	}
}

// endedChildren are those whose status was not collected yet (proc(5)).
func endedChildren() []int {
	var all []int
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(children)) {
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%s/stat", child))
			state := string(stat[bytes.LastIndexByte(stat, ')')+1:])
			if pid, err := strconv.Atoi(child); err == nil && strings.HasPrefix(state, " Z") {
				all = append(all, pid)
			}
		}
	}
	return all
}
