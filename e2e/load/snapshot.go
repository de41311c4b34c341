package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Snapshot is what the clients saw so far. Durations are in nanoseconds in JSON.
type Snapshot struct {
	Elapsed     time.Duration             `json:"elapsed"`
	Fresh       Side                      `json:"fresh"`
	KeepAlive   Side                      `json:"keep_alive"`
	Generations map[string]GenerationSeen `json:"generations"`
	// DispatchLag is how late this program itself sent its requests: latencies
	// and gaps below it say nothing of the service.
	DispatchLag Latency `json:"dispatch_lag"`
	// Overtaken is by how much a request that was answered was due later than one that
	// still waited then, at most. On a busy machine all are slow together; one that is
	// stuck is overtaken.
	Overtaken time.Duration `json:"overtaken"`
	// Errors are the first losses in words.
	Errors []string `json:"errors,omitempty"`
}

// Side is one kind of load, fresh or keep-alive.
type Side struct {
	Sent     int64 `json:"sent"`
	Answered int64 `json:"answered"`
	// Lost by kind. What was sent and is neither answered nor lost is under way.
	Lost    map[Loss]int64 `json:"lost"`
	Latency Latency        `json:"latency"`
	// LongestGap is the longest time without a good answer, and when it ended.
	LongestGap    time.Duration `json:"longest_gap"`
	LongestGapEnd time.Time     `json:"longest_gap_end"`
	// Connects, Announced (ended by "Connection: close") and IdleClosed (closed
	// by the server between two requests) count lasting connections only.
	Connects   int64 `json:"connects,omitempty"`
	Announced  int64 `json:"announced,omitempty"`
	IdleClosed int64 `json:"idle_closed,omitempty"`
}

// Latency sums up a distribution.
type Latency struct {
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	P999 time.Duration `json:"p999"`
	Max  time.Duration `json:"max"`
}

// GenerationSeen is what one generation answered.
type GenerationSeen struct {
	Answers     int64     `json:"answers"`
	Fresh       int64     `json:"fresh"`
	FirstAnswer time.Time `json:"first_answer"`
	// The last connection of its own kind that reached this generation: when it
	// was connected, and when it was answered.
	LastFreshConnect time.Time `json:"last_fresh_connect"`
	LastFreshAnswer  time.Time `json:"last_fresh_answer"`
}

// Total is the number of requests lost, of all kinds.
func (s Side) Total() int64 {
	var n int64
	for _, k := range s.Lost {
		n += k
	}
	return n
}

// Lost is the number of requests lost in all.
func (s Snapshot) Lost() int64 { return s.Fresh.Total() + s.KeepAlive.Total() }

// Answered is the number of good answers in all.
func (s Snapshot) Answered() int64 { return s.Fresh.Answered + s.KeepAlive.Answered }

// String is a summary of a few lines.
func (s Snapshot) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d answered, %d lost in %v (dispatch lag p99 %v)\n",
		s.Answered(), s.Lost(), s.Elapsed.Round(time.Millisecond), s.DispatchLag.P99)
	for _, side := range []struct {
		name string
		Side
	}{{"fresh", s.Fresh}, {"keep-alive", s.KeepAlive}} {
		if side.Sent == 0 {
			continue
		}
		fmt.Fprintf(&b, "  %-10s %d sent, %d answered, lost %s; p50 %v p99 %v max %v, longest gap %v",
			side.name, side.Sent, side.Answered, lossText(side.Lost),
			side.Latency.P50, side.Latency.P99, side.Latency.Max.Round(time.Microsecond), side.LongestGap.Round(time.Microsecond))
		if side.Connects > 0 {
			fmt.Fprintf(&b, "; %d connects, %d announced ends, %d closed idle", side.Connects, side.Announced, side.IdleClosed)
		}
		b.WriteByte('\n')
	}
	for _, g := range slices.Sorted(maps.Keys(s.Generations)) {
		fmt.Fprintf(&b, "  generation %s: %d answers\n", g, s.Generations[g].Answers)
	}
	for _, e := range s.Errors {
		fmt.Fprintf(&b, "  %s\n", e)
	}
	return b.String()
}

func lossText(lost map[Loss]int64) string {
	if len(lost) == 0 {
		return "0"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(lost)) {
		parts = append(parts, fmt.Sprintf("%d %s", lost[k], k))
	}
	return strings.Join(parts, ", ")
}
