package ctl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// rolloutLive is a rollout on a terminal, redrawn in place: a tree of waves, and below
// the wave that is under way the hosts to look at.
type rolloutLive struct {
	block
	colors  bool
	message string
	stale   bool // something changed since it was drawn
	shown   time.Time
}

func (l *rolloutLive) change(*scene, runner.Change) { l.stale = true }

// tick draws: a change would be too often, with a thousand hosts.
func (l *rolloutLive) tick(sc *scene, now time.Time) {
	if sc.state == nil || !l.stale && now.Sub(l.shown) < time.Second {
		return
	}
	lines := rolloutTree(sc, now, height(l.file)-2, l.colors)
	if l.message != "" {
		lines = append(lines, l.message)
	}
	l.replace(lines)
	l.stale, l.shown = false, now
}

func (l *rolloutLive) note(text string) { l.message = text }

// rolloutTree is the tree, in so many lines at most.
func rolloutTree(sc *scene, now time.Time, most int, colors bool) []string {
	out := []string{rolloutHead(sc, now, colors)}
	if sc.hold != rollout.Free && sc.state.Phase >= rollout.Fetching && sc.state.Phase < rollout.Closing {
		out = append(out, painted("held up: "+sc.hold.String(), colorBad, colors))
	}
	byWave := make([][]rollout.HostState, len(sc.spec.Plan.Waves))
	for _, h := range sc.targets() {
		byWave[h.Wave] = append(byWave[h.Wave], h)
	}
	first, last := wavesToShow(sc.state.Wave, len(byWave), most-len(out))
	if first > 0 {
		out = append(out, waveLine(fmt.Sprintf("waves 1 to %d", first), slices.Concat(byWave[:first]...), colors))
	}
	room := most - len(out) - (last - first + 1) - 2
	for w := first; w <= last; w++ {
		out = append(out, waveLine(waveName(sc.spec, w), byWave[w], colors))
		rows := hostRows(sc, byWave[w], w == sc.state.Wave, max(0, room), colors)
		room -= len(rows)
		out = append(out, rows...)
	}
	if last+1 < len(byWave) {
		out = append(out, waveLine(fmt.Sprintf("waves %d to %d", last+2, len(byWave)), slices.Concat(byWave[last+1:]...), colors))
	}
	return out[:min(len(out), max(1, most))]
}

// wavesToShow are the waves that have a line of their own, in so many lines at most: up
// to three before and after the one under way. Those before and after these share one.
func wavesToShow(wave, waves, most int) (first, last int) {
	for around := 3; ; around-- {
		first, last = max(0, wave-around), min(waves-1, wave+around)
		lines := last - first + 1
		if first > 0 {
			lines++
		}
		if last < waves-1 {
			lines++
		}
		if lines <= most || around == 0 {
			return first, last
		}
	}
}

// rolloutHead is the rollout in one line.
func rolloutHead(sc *scene, now time.Time, colors bool) string {
	s := sc.state
	at := s.Phase.String()
	switch s.Phase {
	case rollout.Rolling:
		at = waveName(sc.spec, s.Wave)
	case rollout.Pausing:
		at = phaseText(sc, s)
		if until := runner.Instant(s.PauseUntil); !until.IsZero() {
			at = fmt.Sprintf("%s is through; the next begins in %s", waveName(sc.spec, s.Wave), max(0, until.Sub(now)).Round(time.Second))
		}
	case rollout.Undoing:
		at = phaseText(sc, s)
	}
	text := fmt.Sprintf("%s: rollout %s: %s, %s", sc.spec.Service, sc.id, at, span(now.Sub(sc.begun).Round(time.Second)))
	if left := sc.left(now); left > 0 && s.Phase < rollout.Closing && sc.hold == rollout.Free {
		text += ", about " + span(left.Round(time.Second)) + " left"
	}
	if s.Phase == rollout.Undoing {
		return painted(text, colorBad, colors)
	}
	return text
}

// waveLine folds a wave: how many of its hosts are where.
func waveLine(name string, hosts []rollout.HostState, colors bool) string {
	counts := map[string]int{}
	for _, h := range hosts {
		counts[progressWord(h)]++
	}
	var parts []string
	for _, word := range progressOrder {
		if n := counts[word]; n > 0 {
			parts = append(parts, painted(fmt.Sprintf("%s %d", word, n), progressColor(word), colors))
		}
	}
	return fmt.Sprintf("  %-20s %9s  %s", name, count(len(hosts), "host"), strings.Join(parts, ", "))
}

// progressOrder is what to look at first.
var progressOrder = []string{
	"failed", "stuck", "unreachable", "held", "skipped", "returning", "soaking", "upgrading", "starting", "fetching", "rolled-back",
	"upgraded", "unchanged", "ready", "waiting",
}

func progressColor(word string) color {
	switch word {
	case "failed", "stuck", "unreachable", "held":
		return colorBad
	case "upgraded":
		return colorGood
	case "unchanged", "ready", "waiting":
		return colorDim
	}
	return colorWait
}

// hostRows are the hosts of a wave that are worth a line, those with failures first: of
// the wave under way also what moves.
func hostRows(sc *scene, hosts []rollout.HostState, current bool, most int, colors bool) []string {
	const calm = "rolled-back" // from here on the count is enough
	quiet := slices.Index(progressOrder, calm)
	worth := slices.DeleteFunc(slices.Clone(hosts), func(h rollout.HostState) bool {
		rank := slices.Index(progressOrder, progressWord(h))
		return rank >= quiet || !current && progressColor(progressWord(h)) != colorBad
	})
	slices.SortStableFunc(worth, func(a, b rollout.HostState) int {
		return cmp.Compare(slices.Index(progressOrder, progressWord(a)), slices.Index(progressOrder, progressWord(b)))
	})
	left := 0
	if len(worth) > most {
		left = len(worth) - max(0, most-1)
		worth = worth[:max(0, most-1)]
	}
	var out []string
	for _, h := range worth {
		out = append(out, hostLine(h, sc.hosts[h.Name], colors))
	}
	if left > 0 && most > 0 {
		out = append(out, fmt.Sprintf("    ... and %s more", count(left, "host")))
	}
	return out
}

// hostLine is a host, where it is, and what is left of it.
func hostLine(h rollout.HostState, p *player, colors bool) string {
	word := progressWord(h)
	var parts []string
	if r := p.report; r != nil && h.Progress >= rollout.Starting {
		if r.GetGeneration() != 0 {
			parts = append(parts, fmt.Sprintf("generation %d", r.GetGeneration()))
		}
		if h.Progress == rollout.Upgrading {
			parts = append(parts, percent(r.GetWeight()))
		}
		if r.ConnectionsLeft != nil {
			parts = append(parts, count(r.GetConnectionsLeft(), "connection")+" left")
		}
	}
	if h.Progress == rollout.Claimed && p.size > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s", size(p.sent), size(p.size)))
	}
	if h.Message != "" {
		parts = append(parts, visible(h.Message))
	}
	return fmt.Sprintf("    %-20s %s  %s", h.Name, painted(fmt.Sprintf("%-11s", word), progressColor(word), colors), strings.Join(parts, ", "))
}
