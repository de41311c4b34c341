package ctl

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// bar shows on stderr how far an upload is: a line that is redrawn on a
// terminal, else one line at its begin and one at its end.
type bar struct {
	w        io.Writer
	name     string
	total    int64
	done     int64
	moved    int64  // bytes on the wire
	how      string // they went, if not as they are
	begin    time.Time
	drawn    time.Time
	animated bool
}

// redraw is the least time between two pictures of a bar.
const redraw = 100 * time.Millisecond

func (s *session) newBar(name string, total int64) *bar {
	_, animated := s.animated(s.stdio.Err)
	b := &bar{w: s.stdio.Err, name: name, total: total, begin: time.Now(), animated: animated}
	if !animated {
		fmt.Fprintf(b.w, "pushing %s (%s)\n", name, size(total))
	}
	return b
}

// sent tells of n more bytes on the wire; done are those of the artifact.
func (b *bar) sent(n, done int64) {
	b.moved += n
	b.done = done
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
	return fmt.Sprintf("pushing %s [%s%s] %s of %s", b.name,
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
	if b.done != b.total {
		return
	}
	how := ""
	if b.how != "" {
		how = fmt.Sprintf(": moved %s, %s", size(b.moved), b.how)
	}
	fmt.Fprintf(b.w, "pushed %s (%s) in %s%s\n", b.name, size(b.total), span(time.Since(b.begin)), how)
}
