package spec

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

// FuzzParse holds the decoder to its promises: no panic, every mistake has a
// place in the file and a reason in one line, what is taken can be sent.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/full.yaml", "testdata/errors.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{"", "a: [", "? a\n: b", "name: &a web\nuser: *a", "<<: {name: a}", "name: web\nargs: [,]", "{", "\t", "name: web\r\nuser: x\r\n", "name: >-\n  web\n", "!!map {name: web}", "\xff", "%YAML 1.1\n---\nname: web"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("web.yaml", data)
		if err == nil {
			p := file.ToProto("sha256:00", nil)
			if _, err := proto.Marshal(p); err != nil && utf8.Valid(data) {
				t.Errorf("cannot be sent: %v", err)
			}
			if !nameForm.MatchString(file.Name) {
				t.Errorf("name %q", file.Name)
			}
			return
		}
		var all strict.Errors
		if !errors.As(err, &all) {
			t.Fatalf("%T is not strict.Errors: %v", err, err)
		}
		rows := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, e := range all {
			if e.Line < 1 || e.Column < 1 || e.Line > rows || e.Reason == "" {
				t.Errorf("%+v in %d lines", e, rows)
			}
		}
	})
}
