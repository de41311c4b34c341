package spec

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// mappings are the mappings of a service file, with text that puts a key into
// each.
var mappings = map[string]string{
	"":                    "%s",
	"handover.":           "handover: {%s}",
	"sockets[].":          "sockets: [{%s}]",
	"ready.":              "ready: {%s}",
	"ready.http.":         "ready: {http: {%s}}",
	"ready.grpc.":         "ready: {grpc: {%s}}",
	"ready.tcp.":          "ready: {tcp: {%s}}",
	"ready.exec.":         "ready: {exec: {%s}}",
	"ready.tls.":          "ready: {tls: {%s}}",
	"upgrade.":            "upgrade: {%s}",
	"upgrade.steps[].":    "upgrade: {steps: [{%s}]}",
	"upgrade.check.":      "upgrade: {check: {%s}}",
	"upgrade.check.http.": "upgrade: {check: {http: {%s}}}",
	"upgrade.check.grpc.": "upgrade: {check: {grpc: {%s}}}",
	"upgrade.check.tcp.":  "upgrade: {check: {tcp: {%s}}}",
	"upgrade.check.exec.": "upgrade: {check: {exec: {%s}}}",
	"upgrade.check.tls.":  "upgrade: {check: {tls: {%s}}}",
	"drain.":              "drain: {%s}",
	"restart.":            "restart: {%s}",
}

// notForCheck are kinds that the decoder knows below upgrade.check only to
// refuse them.
var notForCheck = []string{"upgrade.check.notify", "upgrade.check.parent_signal", "upgrade.check.alive_for"}

// TestTableOfKeysIsTheDecoders asks the decoder, by a key it cannot know, which
// ones it knows, and wants exactly those in the table.
func TestTableOfKeysIsTheDecoders(t *testing.T) {
	var known []string
	for prefix, form := range mappings {
		_, err := Parse("web.yaml", []byte(fmt.Sprintf(form, "qqqqqqqq: 1")))
		if err == nil {
			t.Fatalf("%q takes a key nobody knows", prefix)
		}
		_, list, ok := strings.Cut(err.Error(), "unknown key: use one of ")
		if !ok {
			t.Fatalf("%q lists no keys: %v", prefix, err)
		}
		list, _, _ = strings.Cut(list, "\n")
		for key := range strings.SplitSeq(list, ", ") {
			if path := prefix + key; !slices.Contains(notForCheck, path) {
				known = append(known, path)
			}
		}
	}
	var table []string
	for _, k := range Keys() {
		if !strings.HasSuffix(k.Path, ".NAME") {
			table = append(table, k.Path)
		}
	}
	slices.Sort(known)
	slices.Sort(table)
	for _, k := range known {
		if _, ok := slices.BinarySearch(table, k); !ok {
			t.Errorf("the decoder knows %s, the table does not", k)
		}
	}
	for i, k := range table {
		if _, ok := slices.BinarySearch(known, k); !ok {
			t.Errorf("the table has %s, the decoder does not", k)
		}
		if i > 0 && table[i-1] == k {
			t.Errorf("the table has %s twice", k)
		}
	}
}

// wrong is a value that a type must not take.
var wrong = map[string]string{
	"list": "1", "mapping": "1", "text": "[1]", "duration": "10mm", "number": "x", "percent": "x",
	"octal": "9", "nothing": "{a: 1}",
}

// TestTypesOfTheTable gives each key a value that its type forbids.
func TestTypesOfTheTable(t *testing.T) {
	for _, k := range Keys() {
		dot := strings.LastIndexByte(k.Path, '.')
		form, ok := mappings[k.Path[:dot+1]]
		if !ok {
			continue // names of the operator's choice
		}
		bad, ok := wrong[k.Type]
		if !ok {
			bad = "qqq" // a choice of words
		}
		name := k.Path[dot+1:]
		_, err := Parse("web.yaml", []byte(fmt.Sprintf(form, name+": "+bad)))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s (%s) takes %s: %v", k.Path, k.Type, bad, err)
		}
	}
}
