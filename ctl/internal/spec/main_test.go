package spec

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got; -update writes it):\n%s", file, diff)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// parse reads a file that must be good.
func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("web.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return f
}

func TestEveryKeyIsConverted(t *testing.T) {
	f, err := Parse("etc/full.yaml", read(t, "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Artifact.Path != "etc/web-v1" || f.Files["web.toml"] != "etc/web.toml" {
		t.Errorf("paths %q and %q are not relative to the file", f.Artifact.Path, f.Files["web.toml"])
	}
	p := f.ToProto("sha256:00", map[string]string{"web.toml": "sha256:11"})
	// prototext varies its spaces on purpose; one field per line does not.
	text, err := prototext.MarshalOptions{Multiline: true}.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "full.golden", bytes.ReplaceAll(text, []byte(":  "), []byte(": ")))
}

func TestEveryMistakeIsReportedWithItsPlace(t *testing.T) {
	_, err := Parse("errors.yaml", read(t, "errors.yaml"))
	var all strict.Errors
	if !errors.As(err, &all) {
		t.Fatalf("%v is not strict.Errors", err)
	}
	golden(t, "errors.golden", []byte(err.Error()+"\n"))
}

func TestExplanation(t *testing.T) {
	var b bytes.Buffer
	if err := Explain(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "explain.golden", b.Bytes())
}

func TestSampleOfTheContract(t *testing.T) {
	f, err := Parse("sample.yaml", read(t, "sample.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if *f.Sockets[1].Mode != 0o660 || f.Env["MODE"] != "prod" || !f.Ready.Probe.Notify || len(f.Upgrade.Steps) != 2 {
		t.Errorf("%+v", f)
	}
}
