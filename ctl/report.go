package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// tally counts what came of asking many hosts.
type tally struct {
	hosts                        int
	unreachable, failed, skipped []string
	held, changing               []string
}

func (t *tally) add(host, outcome string) {
	t.hosts++
	switch outcome {
	case "unreachable":
		t.unreachable = append(t.unreachable, host)
	case "failed":
		t.failed = append(t.failed, host)
	case "skipped":
		t.skipped = append(t.skipped, host)
	case "held":
		t.held = append(t.held, host)
	case "would-change":
		t.changing = append(t.changing, host)
	}
}

// account says which hosts gave no answer, and ends the command with the code for it.
func (s *session) account(ctx context.Context, t tally) error {
	code := ExitDone
	for _, row := range []struct {
		hosts []string
		words string
		code  int
	}{ // the code of the last that applies counts
		{t.failed, "failed", ExitError},
		{t.unreachable, "unreachable", ExitUnreachable},
		{t.skipped, "not asked to the end", ExitDetached},
		{t.held, "held by somebody else", ExitHeld},
	} {
		if len(row.hosts) > 0 {
			s.note("%d of %s %s: %s", len(row.hosts), count(t.hosts, "host"), row.words, few(row.hosts))
			code = row.code
		}
	}
	if len(t.skipped) > 0 {
		s.note("%s", whyEnded(ctx))
	}
	if code == ExitDone {
		return wouldChange(len(t.changing) > 0)
	}
	return &exitError{code: code}
}

// listHosts is a sweep whose report programs read: more is what it has of a host that
// answered.
func listHosts[T any](ctx context.Context, s *session, hosts []inventory.Host, ask func(context.Context, *client) (T, error), more func(T) object) error {
	list := &hostList{s: s}
	return sweep(ctx, s, hosts, ask, func(r reply[T]) error {
		o := r.object()
		if r.err == nil {
			o = append(o, more(r.answer)...)
		}
		return list.add(o)
	}, func() error { return list.end() })
}

// stackHosts is a sweep whose report has the answers of hosts one below the other: for
// programs as an object, for people as tell writes them.
func stackHosts[T any](ctx context.Context, s *session, hosts []inventory.Host, ask func(context.Context, *client) (T, error), more func(T) object, tell func(T) error) error {
	if s.structured() {
		return listHosts(ctx, s, hosts, ask, more)
	}
	return sweep(ctx, s, hosts, ask, func(r reply[T]) error {
		if r.err != nil {
			s.say("%s: %s: %s\n", r.host.Name, r.outcome(), visible(words(r.err)))
			return nil
		}
		s.say("%s:", r.host.Name)
		err := tell(r.answer)
		s.say("")
		return err
	}, nothingMore)
}

// nothingMore ends a report that has no end of its own.
func nothingMore() error { return nil }

// hostList is an object with the member hosts, whose elements are written as they come.
type hostList struct {
	s     *session
	begun bool
}

// add writes one host.
func (l *hostList) add(o object) error {
	if l.s.output == "yaml" {
		return l.addYAML(o)
	}
	head := ",\n    "
	if !l.begun {
		head = "{\n  \"hosts\": [\n    "
	}
	l.begun = true
	return l.json(head, o, "    ")
}

func (l *hostList) addYAML(o object) error {
	b, err := yaml.Marshal([]object{o})
	if err == nil && !l.begun {
		b = append([]byte("hosts:\n"), b...)
	}
	l.begun = true
	return l.write(b, err)
}

// end writes the members after the hosts.
func (l *hostList) end(members ...member) error {
	if l.s.output == "yaml" {
		if len(members) == 0 {
			return nil
		}
		return l.s.printYAML("", members)
	}
	if err := l.write([]byte("\n  ]"), nil); err != nil {
		return err
	}
	for _, m := range members {
		if err := l.json(fmt.Sprintf(",\n  %q: ", m.key), m.value, "  "); err != nil {
			return err
		}
	}
	return l.write([]byte("\n}\n"), nil)
}

// json writes a value after a head, indented as print does it.
func (l *hostList) json(head string, value any, prefix string) error {
	var flat bytes.Buffer
	e := json.NewEncoder(&flat)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return err
	}
	out := bytes.NewBufferString(head)
	err := json.Indent(out, bytes.TrimSpace(flat.Bytes()), prefix, "  ")
	return l.write(out.Bytes(), err)
}

func (l *hostList) write(b []byte, err error) error {
	if err != nil {
		return err
	}
	_, err = l.s.stdio.Out.Write(b)
	return err
}

// columns are a table whose rows are written as they come: a column is as wide as the
// widest text that was known by then.
type columns struct {
	w      io.Writer
	colors bool
	head   []cell // until it is written, with the first row
	widths []int
}

// newColumns makes such a table. Known are texts of the first column, and widths how
// wide the others will be at least.
func (s *session) newColumns(head []string, known []string, widths ...int) *columns {
	t := &columns{w: s.stdio.Out, colors: s.colored(s.stdio.Out), widths: make([]int, len(head))}
	copy(t.widths[1:], widths)
	for _, text := range known {
		t.widen(0, text)
	}
	for i, text := range head {
		t.widen(i, text)
		t.head = append(t.head, cell{text, colorDim})
	}
	return t
}

func (t *columns) widen(column int, text string) {
	t.widths[column] = max(t.widths[column], utf8.RuneCountInString(text))
}

func (t *columns) add(row ...cell) error {
	for i, c := range row {
		t.widen(i, c.text)
	}
	for _, line := range [][]cell{t.head, row} {
		if line == nil {
			continue
		}
		if _, err := fmt.Fprintln(t.w, joinCells(line, t.widths, t.colors)); err != nil {
			return err
		}
	}
	t.head = nil
	return nil
}
