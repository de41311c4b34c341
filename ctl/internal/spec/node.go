package spec

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// value is a node of the syntax tree with the path of its key.
type value struct {
	node ast.Node
	key  string
}

// under is the path of a key inside the value.
func (v value) under(key string) string {
	if v.key == "" {
		return key
	}
	return v.key + "." + key
}

// empty says that nothing was written after the key.
func (v value) empty() bool {
	if v.node == nil {
		return true
	}
	_, null := v.node.(*ast.NullNode)
	return null && v.node.GetToken().Type == token.ImplicitNullType
}

// place is where the value begins. A block mapping's own token is its first
// colon, so its first key is taken.
func (v value) place() (line, column int) {
	n := v.node
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1, 1
	}
	p := n.GetToken().Position
	return p.Line, p.Column
}

// kind names what was written, for errors.
func (v value) kind() string {
	if v.empty() {
		return "nothing"
	}
	switch v.node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias, which service files do not use"
	case *ast.TagNode:
		return "a tag, which service files do not use"
	default:
		return "a single value"
	}
}

// field is one key of a mapping and what reads its value.
type field struct {
	key  string
	read func(value)
}

// object reads a mapping with the given keys and returns the values it had.
func (d *decoder) object(v value, fields []field) map[string]value {
	readers := make(map[string]func(value), len(fields))
	known := make([]string, len(fields))
	for i, f := range fields {
		readers[f.key], known[i] = f.read, f.key
	}
	return d.entries(v, func(key string, at, val value) {
		if read, ok := readers[key]; ok {
			read(val)
			return
		}
		d.fail(at, "unknown key: %s", choose(key, known))
	})
}

// entries calls each for every entry of a mapping, in the file's order.
func (d *decoder) entries(v value, each func(key string, at, val value)) map[string]value {
	var pairs []*ast.MappingValueNode
	switch n := v.node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		if !v.empty() {
			d.fail(v, "want a mapping of keys to values, got %s", v.kind())
		}
		return nil
	}
	seen := make(map[string]value, len(pairs))
	for _, pair := range pairs {
		key, ok := scalar(pair.Key)
		at := value{pair.Key, v.under(key)}
		if !ok {
			d.fail(value{pair.Key, v.key}, "want a plain key")
			continue
		}
		if first, ok := seen[key]; ok {
			line, _ := first.place()
			d.fail(at, "duplicate key, first in line %d", line)
			continue
		}
		seen[key] = at
		each(key, at, value{pair.Value, at.key})
	}
	return seen
}

// list calls each for every element of a list.
func (d *decoder) list(v value, each func(value)) {
	if v.empty() {
		return
	}
	n, ok := v.node.(*ast.SequenceNode)
	if !ok {
		d.fail(v, "want a list such as [a, b], got %s", v.kind())
		return
	}
	for i, e := range n.Values {
		each(value{e, fmt.Sprintf("%s[%d]", v.key, i)})
	}
}

// text reads a scalar exactly as it was written; nothing is "".
func (d *decoder) text(v value) (string, bool) {
	if v.empty() {
		return "", true
	}
	s, ok := scalar(v.node)
	switch {
	case !ok:
		d.fail(v, "want text, got %s", v.kind())
	case strings.ContainsRune(s, 0):
		d.fail(v, "contains a NUL character, which no program can be given")
		return "", false
	}
	return s, ok
}

// scalar returns what a scalar node says, unchanged by YAML's idea of types.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}
