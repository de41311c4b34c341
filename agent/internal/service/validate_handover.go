package service

import (
	"fmt"
	"path"
	"strings"

	"github.com/gracefleet/gracefleet/internal/handover"
)

var (
	placeholderForm = lazily(`\{[a-z_]+([.:][^{}]*)?\}`)
	// hostForm are placeholders of inventories: taken literally today, they would
	// change their meaning with the agent's version.
	hostForm = lazily(`\{host\.[^{}]*\}`)
)

// Announced are the service's sockets as its program is told of them.
func (s Spec) Announced() []handover.Socket {
	list := make([]handover.Socket, len(s.Sockets))
	for i, x := range s.Sockets {
		list[i] = handover.Socket{Name: x.Name, Network: string(x.Address.Network), Path: x.Address.Path}
		if x.Address.Network != Unix {
			list[i].Host, list[i].Port = x.Address.IP.String(), int(x.Address.Port)
		}
	}
	d, _ := handover.FindDialect(s.Handover.Dialect)
	return d.Number(list)
}

func (c *checker) handover(s Spec) {
	d, known := handover.FindDialect(s.Handover.Dialect)
	c.that(known, "handover.dialect", "%.80q is not known: want one of %s; see gracectl explain dialects",
		s.Handover.Dialect, strings.Join(handover.DialectNames(), ", "))
	if _, ok := handover.FindPreset(s.Preset); s.Preset != "" {
		c.that(ok, "preset", "%.80q is not known: want one of %s; see gracectl explain presets",
			s.Preset, strings.Join(handover.PresetNames(), ", "))
	}
	c.env("handover.env", s.Handover.Env)
	if s.Readiness.ParentSignal {
		c.that(!known || len(d.ParentSignals) > 0, "ready.parent_signal", "programs of the %s dialect send their parent no signal", d.Name)
	}
	c.that(d.Name != "goagain" || len(s.Sockets) == 1, "sockets", "the goagain dialect passes exactly one")
}

func (c *checker) command(s Spec) {
	values := handover.Values{Sockets: s.Announced(), Files: s.Files, Credentials: s.Credentials}
	uses := false
	for i, word := range s.Command {
		field := fmt.Sprintf("command[%d]", i)
		c.text(field, word, values)
		for _, p := range placeholderForm().FindAllString(word, -1) {
			c.that(values.Knows(p), field, "placeholder %s is not known: see gracectl explain dialects", p)
		}
		uses = uses || strings.Contains(word, artifactPlaceholder)
	}
	// A relative one is a file of the artifact's tree.
	relative := len(s.Command) > 0 && strings.Contains(s.Command[0], "/") && isLocal(s.Command[0])
	c.that(uses || relative, "command", "does not contain %s: an upgrade would change nothing", artifactPlaceholder)
	if len(s.Command) > 0 && s.Command[0] != artifactPlaceholder && !relative && !strings.HasPrefix(s.Command[0], artifactPlaceholder+"/") {
		c.failed("command[0]", checkPath(s.Command[0]))
	}
	for i, arg := range s.Args {
		c.text(fmt.Sprintf("args[%d]", i), arg, values)
	}
	for _, env := range []struct {
		key    string
		values map[string]string
	}{{"env", s.Env}, {"handover.env", s.Handover.Env}} {
		for _, name := range sortedKeys(env.values) {
			c.text(env.key+"."+name, env.values[name], values)
		}
	}
}

// isLocal says whether a path is relative, clean, and leads nowhere above.
func isLocal(p string) bool {
	return p != "" && path.Clean(p) == p && p[0] != '/' && p[0] != '{' && p != ".." && !strings.HasPrefix(p, "../")
}

// text is an argument or a value with placeholders.
func (c *checker) text(field, text string, values handover.Values) {
	c.that(!strings.Contains(text, "\x00"), field, "contains NUL")
	for _, p := range values.Unknown(text) {
		c.add(field, "placeholder %s names nothing that is declared", p)
	}
	later := hostForm().FindString(text)
	c.that(later == "", field, "placeholder %s is not supported by this agent yet", later)
}
