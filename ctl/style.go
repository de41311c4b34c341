package ctl

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// terminal is the file behind a stream when that is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, false
	}
	return f, true
}

// width is a terminal's width in columns.
func width(f *os.File) int {
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil || w < 20 {
		return 80
	}
	return w
}

// height is a terminal's height in lines.
func height(f *os.File) int {
	_, h, err := term.GetSize(int(f.Fd()))
	if err != nil || h < 10 {
		return 24
	}
	return h
}

// colored says whether a stream takes colours (no-color.org).
func (s *session) colored(w io.Writer) bool {
	_, ok := terminal(w)
	return ok && !s.noColor && s.stdio.Getenv("NO_COLOR") == "" && s.stdio.Getenv("TERM") != "dumb"
}

// animated says whether a stream can be redrawn.
func (s *session) animated(w io.Writer) (*os.File, bool) {
	f, ok := terminal(w)
	return f, ok && s.stdio.Getenv("TERM") != "dumb"
}

// red colours text for stderr.
func (s *session) red(text string) string {
	return painted(text, colorBad, s.colored(s.stdio.Err))
}

// color is an ANSI foreground colour; the zero value is none.
type color string

const (
	colorGood color = "32"
	colorWait color = "33"
	colorBad  color = "31"
	colorDim  color = "2"
)

// painted is text in a colour, if colours are wanted.
func painted(text string, c color, colors bool) string {
	if c == "" || !colors {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// stateColor is the colour of a generation's or upgrade's state.
func stateColor(state string) color {
	switch state {
	case "ACTIVE", "SUCCEEDED", "RUNNING":
		return colorGood
	case "FAILED", "DOWN", "ABORTED":
		return colorBad
	case "STOPPED":
		return colorDim
	}
	return colorWait
}

// visible is text with its control characters written out, so that what a
// program prints cannot take over a terminal. Tabs stay.
func visible(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(escape(rune(text[i])))
		case r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)):
			b.WriteString(escape(r))
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

func escape(r rune) string {
	const hex = "0123456789abcdef"
	if r < 0x100 {
		return `\x` + string(hex[r>>4]) + string(hex[r&15])
	}
	return `\u{` + strings.ToLower(formatHex(r)) + `}`
}
