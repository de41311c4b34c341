package ctl

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// block is some lines on a terminal that are redrawn in place.
type block struct {
	file  *os.File
	drawn int // lines on the screen
}

// replace draws other lines, in one write, so that no half picture is seen.
func (b *block) replace(lines []string) {
	columns := width(b.file)
	var text strings.Builder
	text.WriteString(b.erase())
	for _, line := range lines {
		text.WriteString(fit(line, columns) + "\n")
	}
	b.drawn = len(lines)
	_, _ = b.file.WriteString(text.String())
}

// erase goes to the block's first line and clears from there.
func (b *block) erase() string {
	if b.drawn == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r\x1b[J", b.drawn)
}

func (b *block) clear() {
	_, _ = b.file.WriteString(b.erase())
	b.drawn = 0
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
