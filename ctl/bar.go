package ctl

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// bar shows on stderr how far an upload or a fetch is: a line that is redrawn on a
// terminal, else one line at its begin and one at its end.
type bar struct {
	w        io.Writer
	doing    string
	did      string
	name     string
	total    int64
	done     int64
	moved    int64  // bytes on the wire
	how      string // they went, if not as they are
	arrived  bool   // the agent has said so
	begin    time.Time
	drawn    time.Time
	animated bool
	moves    func(n int64) // is told instead of being shown
}

// redraw is the least time between two pictures of a bar.
const redraw = 100 * time.Millisecond

func (s *session) newBar(c *client, name string, total int64) *bar {
	return s.begun(c, &bar{doing: "pushing", did: "pushed", name: name, total: total})
}

func (s *session) fetchBar(c *client, name string, total int64) *bar {
	return s.begun(c, &bar{doing: "fetching", did: "fetched", name: name, total: total})
}

func (s *session) begun(c *client, b *bar) *bar {
	b.begin = time.Now()
	if c.moves != nil {
		b.w, b.moves = io.Discard, c.moves
		return b
	}
	_, b.animated = s.animated(s.stdio.Err)
	b.w = s.stdio.Err
	if !b.animated {
		fmt.Fprintf(b.w, "%s %s (%s)\n", b.doing, b.name, size(b.total))
	}
	return b
}

// sent tells of n more bytes on the wire; done are those of the artifact.
func (b *bar) sent(n, done int64) {
	b.moved += n
	b.done = done
	if b.moves != nil {
		b.moves(n)
	}
	now := time.Now()
	if !b.animated || now.Sub(b.drawn) < redraw {
		return
	}
	b.drawn = now
	fmt.Fprintf(b.w, "\r\x1b[2K%s", b.picture())
}

func (b *bar) picture() string {
	const columns = 24
	full := int(columns * b.done / b.total)
	return fmt.Sprintf("%s %s [%s%s] %s of %s", b.doing, b.name,
		strings.Repeat("=", full), strings.Repeat(" ", columns-full), size(b.done), size(b.total))
}

// note writes a line of its own.
func (b *bar) note(format string, args ...any) {
	b.clear()
	fmt.Fprintf(b.w, format+"\n", args...)
}

func (b *bar) clear() {
	if b.animated {
		fmt.Fprint(b.w, "\r\x1b[2K")
	}
}

func (b *bar) close() {
	b.clear()
	if !b.arrived {
		return
	}
	how := ""
	if b.how != "" {
		how = fmt.Sprintf(": moved %s, %s", size(b.moved), b.how)
	}
	fmt.Fprintf(b.w, "%s %s (%s) in %s%s\n", b.did, b.name, size(b.total), span(time.Since(b.begin)), how)
}
