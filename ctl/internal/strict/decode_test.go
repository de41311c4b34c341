package strict

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// read decodes a file with the keys name and hosts.
func read(text string) (name string, hosts []string, err error) {
	err = Decode("f.yaml", []byte(text), 4<<20, func(d *Decoder, v Value) {
		seen := d.Object(v, []Field{{"name", d.TextOf(&name)}, {"hosts", d.TextsOf(&hosts)}})
		d.Required(v, seen, "name")
	})
	return name, hosts, err
}

func TestJSONIsReadAsYAMLIs(t *testing.T) {
	for _, text := range []string{"name: 0660\nhosts:\n- a\n- 'b c'\n", `{"name": "0660", "hosts": ["a", "b c"]}`, "{name: 0660, hosts: [a, b c]}"} {
		name, hosts, err := read(text)
		if err != nil || name != "0660" || strings.Join(hosts, "+") != "a+b c" {
			t.Errorf("%s: %q %q %v", text, name, hosts, err)
		}
	}
}

func TestMistakesHaveTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "f.yaml:1:1: the file is empty",
		"---\n":                          "f.yaml:1:1: the file is empty",
		"name: a\n--- \nname: b":         "f.yaml:3:1: a second document: one for each file",
		"name: a\nhosts: [b":             "f.yaml:3:1: not YAML: did not find expected ',' or ']'",
		"name: a\nhosts: [{}]":           "f.yaml:2:9: hosts[0]: want text, got a mapping",
		"name: a\nhosts: b":              "f.yaml:2:8: hosts: want a list such as [a, b], got a single value",
		"nam: a":                         "f.yaml:1:1: nam: unknown key: did you mean \"name\"?\nf.yaml:1:1: the key name is missing",
		"{}":                             "f.yaml:1:1: the key name is missing",
		"name: a\nname: b":               "f.yaml:2:1: name: duplicate key, first in line 1",
		"<<: {name: a}\nname: b":         "f.yaml:1:1: <<: unknown key: use one of name, hosts",
		"name: &x a\nhosts: [b, *x]":     "f.yaml:1:7: name: want text, got an anchor or alias, which is not taken here\nf.yaml:2:12: hosts[1]: want text, got an anchor or alias, which is not taken here",
		"name: !!str a":                  "f.yaml:1:7: name: want text, got a tag, which is not taken here",
		`{"name": "a\u0000b"}`:           "f.yaml:1:10: name: contains a NUL character, which no program can be given",
		"name: a\x00b":                   "not YAML: control characters are not allowed",
		"name: \xff":                     "not YAML: ",
		strings.Repeat("x", 4<<20) + ".": "f.yaml:1:1: file of 4194305 bytes: at most 4194304",
	} {
		_, _, err := read(text)
		if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q\n got %v\nwant %s", text, err, want)
		}
	}
}

// An error is read by somebody.
func TestManyMistakesAreCounted(t *testing.T) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, "k%d: 1\n", i)
	}
	_, _, err := read(text.String())
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxLines+1 || lines[maxLines] != "f.yaml: 9951 more mistakes" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	var all Errors
	if !errors.As(err, &all) || len(all) != 10_001 {
		t.Errorf("%d mistakes", len(all))
	}
}

// hostileShapes are where parsers take quadratic time, or run out of stack. Each has
// a megabyte or so.
var hostileShapes = map[string]string{
	"flow nesting":    "a: " + strings.Repeat("[", 1<<20),
	"closed nesting":  strings.Repeat("[", 1<<19) + strings.Repeat("]", 1<<19),
	"mapping nesting": strings.Repeat("{a: ", 1<<18),
	"block nesting":   strings.Repeat("- ", 1<<19),
	"anchors":         "a: " + strings.Repeat("&a ", 1<<18),
	"quotes":          "a: " + strings.Repeat(`"`, 1<<20|1),
	"colons":          strings.Repeat(": ", 1<<19),
	"questions":       strings.Repeat("? ", 1<<19),
	"many keys":       strings.Repeat("a: 1\n", 1<<18),
	"unclosed list":   "[" + strings.Repeat("a,", 1<<18),
	"page of a proxy": "<!DOCTYPE html>" + strings.Repeat("<p>it's: down</p>\n", 1<<16),
}

func TestHostileShapes(t *testing.T) {
	for name, text := range hostileShapes {
		if _, _, err := read(text); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// An operator accepts a second for any of them.
func BenchmarkHostileShapes(b *testing.B) {
	for name, text := range hostileShapes {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _, _ = read(text)
			}
		})
	}
}
