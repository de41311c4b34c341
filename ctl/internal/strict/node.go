package strict

import (
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Value is a node of the syntax tree with the path of its key.
type Value struct {
	node *yaml.Node
	key  string
}

// under is the path of a key inside the value.
func (v Value) under(key string) string {
	if v.key == "" {
		return key
	}
	return v.key + "." + key
}

// empty says that nothing was written after the key.
func (v Value) empty() bool {
	n := v.node
	return n == nil || n.Kind == yaml.ScalarNode && n.Value == "" && n.Style == 0 && n.Anchor == ""
}

// place is where the value begins, counted from 1.
func (v Value) place() (line, column int) {
	if v.node == nil {
		return 1, 1
	}
	return max(1, v.node.Line), max(1, v.node.Column)
}

// IsMapping says whether keys with values were written.
func (v Value) IsMapping() bool {
	return v.node != nil && v.node.Kind == yaml.MappingNode && !marked(v.node)
}

// marked says whether a node has what these files do not use.
func marked(n *yaml.Node) bool {
	return n.Anchor != "" || n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0
}

// kind names what was written, for errors.
func (v Value) kind() string {
	switch {
	case v.empty():
		return "nothing"
	case v.node.Style&yaml.TaggedStyle != 0:
		return "a tag, which is not taken here"
	case marked(v.node):
		return "an anchor or alias, which is not taken here"
	case v.node.Kind == yaml.MappingNode:
		return "a mapping"
	case v.node.Kind == yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// Field is one key of a mapping and what reads its value. It is an alias, so that
// tables of keys need no names of members.
type Field = struct {
	Key  string
	Read func(Value)
}

// Object reads a mapping with the given keys and returns the values it had.
func (d *Decoder) Object(v Value, fields []Field) map[string]Value {
	readers := make(map[string]func(Value), len(fields))
	known := make([]string, len(fields))
	for i, f := range fields {
		readers[f.Key], known[i] = f.Read, f.Key
	}
	return d.Entries(v, func(key string, at, val Value) {
		if read, ok := readers[key]; ok {
			read(val)
			return
		}
		d.Fail(at, "unknown key: %s", Choose(key, known))
	})
}

// Required fails for keys that a mapping, of which seen are the values, lacks.
func (d *Decoder) Required(v Value, seen map[string]Value, keys ...string) {
	for _, key := range keys {
		if _, ok := seen[key]; !ok && seen != nil {
			d.Fail(v, "the key %s is missing", key)
		}
	}
}

// Entries calls each for every entry of a mapping, in the file's order,
// and returns the places of the keys: none for nothing, nil for what is no mapping.
func (d *Decoder) Entries(v Value, each func(key string, at, val Value)) map[string]Value {
	if v.empty() {
		return map[string]Value{}
	}
	if !v.IsMapping() {
		d.Fail(v, "want a mapping of keys to values, got %s", v.kind())
		return nil
	}
	// The tree has keys and values in turn.
	pairs := v.node.Content
	seen := make(map[string]Value, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		key, ok := scalar(pairs[i])
		at := Value{pairs[i], v.under(key)}
		if !ok {
			d.Fail(Value{pairs[i], v.key}, "want a plain key")
			continue
		}
		if first, ok := seen[key]; ok {
			line, _ := first.place()
			d.Fail(at, "duplicate key, first in line %d", line)
			continue
		}
		seen[key] = at
		each(key, at, Value{pairs[i+1], at.key})
	}
	return seen
}

// List calls each for every element of a list; nothing is an empty one.
func (d *Decoder) List(v Value, each func(Value)) {
	if v.empty() {
		return
	}
	if v.node.Kind != yaml.SequenceNode || marked(v.node) {
		d.Fail(v, "want a list such as [a, b], got %s", v.kind())
		return
	}
	for i, e := range v.node.Content {
		each(Value{e, fmt.Sprintf("%s[%d]", v.key, i)})
	}
}

// TextOf reads a text key into p.
func (d *Decoder) TextOf(p *string) func(Value) {
	return func(v Value) {
		if s, ok := d.Text(v); ok {
			*p = s
		}
	}
}

// TextsOf reads a list of texts into p; an empty list is not nil.
func (d *Decoder) TextsOf(p *[]string) func(Value) {
	return func(v Value) {
		*p = []string{}
		d.List(v, func(e Value) {
			if s, ok := d.Text(e); ok {
				*p = append(*p, s)
			}
		})
	}
}

// Text reads a scalar exactly as it was written, but for Expand; nothing is "".
func (d *Decoder) Text(v Value) (string, bool) {
	if v.empty() {
		return "", true
	}
	s, ok := scalar(v.node)
	switch {
	case !ok:
		d.Fail(v, "want text, got %s", v.kind())
		return "", false
	case strings.ContainsRune(s, 0):
		d.Fail(v, "contains a NUL character, which no program can be given")
		return "", false
	case d.Expand == nil:
		return s, true
	}
	expanded, err := d.Expand(s)
	if err != nil {
		d.Fail(v, "%v", err)
	}
	return expanded, err == nil
}

// ParsedOf reads into p what parse makes of a text. Its error is the mistake; p stays as it
// was then.
func ParsedOf[T any](d *Decoder, p *T, parse func(string) (T, error)) func(Value) {
	return func(v Value) {
		s, ok := d.Text(v)
		if !ok {
			return
		}
		parsed, err := parse(s)
		if err != nil {
			d.Fail(v, "%v", err)
			return
		}
		*p = parsed
	}
}

// Local resolves a path that is relative to the file.
func (d *Decoder) Local(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(d.name), path)
}

// scalar returns what a scalar node says, unchanged by YAML's idea of types.
func scalar(n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || marked(n) {
		return "", false
	}
	return n.Value, true
}
