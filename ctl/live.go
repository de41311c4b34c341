package ctl

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// live is a block of lines on a terminal, redrawn in place.
type live struct {
	file     *os.File
	colors   bool
	services []*pb.ServiceStatus // by name
	message  string
	drawn    int // lines on the screen
}

func (l *live) show(st *pb.ServiceStatus, now time.Time) {
	i, found := l.find(st.GetService().GetName())
	if found {
		l.services[i] = st
	} else {
		l.services = slices.Insert(l.services, i, st)
	}
	l.message = ""
	l.draw(now)
}

func (l *live) drop(service string) {
	if i, found := l.find(service); found {
		l.services = slices.Delete(l.services, i, i+1)
	}
	l.draw(time.Now())
}

func (l *live) find(name string) (int, bool) {
	return slices.BinarySearchFunc(l.services, name, func(st *pb.ServiceStatus, name string) int {
		return strings.Compare(st.GetService().GetName(), name)
	})
}

func (l *live) tick(now time.Time) { l.draw(now) }

func (l *live) note(text string) {
	l.message = text
	l.draw(time.Now())
}

// draw replaces the block in one write, so that no half picture is seen.
func (l *live) draw(now time.Time) {
	var block []string
	for i, st := range l.services {
		if i > 0 {
			block = append(block, "")
		}
		block = append(block, statusLines(st, now, l.colors)...)
	}
	if l.message != "" {
		block = append(block, l.message)
	}
	columns := width(l.file)
	var b strings.Builder
	b.WriteString(l.erase())
	for _, line := range block {
		b.WriteString(fit(line, columns) + "\n")
	}
	l.drawn = len(block)
	_, _ = l.file.WriteString(b.String())
}

// erase goes to the block's first line and clears from there.
func (l *live) erase() string {
	if l.drawn == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r\x1b[J", l.drawn)
}

func (l *live) clear() {
	_, _ = l.file.WriteString(l.erase())
	l.drawn = 0
}

// fit cuts a line to a width, colours not counted: a wrapped line would make
// the block higher than it is known to be.
func fit(line string, columns int) string {
	var b strings.Builder
	for i := 0; i < len(line); {
		if strings.HasPrefix(line[i:], "\x1b[") {
			end := strings.IndexByte(line[i:], 'm') + 1
			b.WriteString(line[i : i+end])
			i += end
			continue
		}
		_, n := utf8.DecodeRuneInString(line[i:])
		if columns > 0 {
			b.WriteString(line[i : i+n])
		}
		columns--
		i += n
	}
	return b.String()
}
