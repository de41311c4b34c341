package delta

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkDifference is how many bytes travel of a stripped Go program of more than 10 MB
// after one line of it was changed, and how many others would send, where they are installed.
//
//	go test -run '^$' -bench Difference -benchtime 1x ./internal/delta
func BenchmarkDifference(b *testing.B) {
	dir := b.TempDir()
	old, next := filepath.Join(dir, "old"), filepath.Join(dir, "next")
	buildRelease(b, old, "v2.3.0", "")
	buildRelease(b, next, "v2.4.0", overlay(b, dir, "agent/internal/server/errors.go", "the agent is stopping: the services run on, call again", "the agent ends, and the services run on: call again in a second"))
	base, artifact := opened(b, old), opened(b, next)
	var frames []int64
	for b.Loop() {
		var err error
		if frames, err = Encode(b.Context(), io.Discard, artifact, base); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(artifact.Size)
	b.ReportMetric(float64(artifact.Size), "artifact-B")
	b.ReportMetric(float64(frames[len(frames)-1]), "wire-B")
	if out, err := exec.Command("zstd", "-q", "-19", "--long=27", "--patch-from="+old, "-c", next).Output(); err == nil {
		b.ReportMetric(float64(len(out)), "zstd-patch-B")
	}
	// In the end rsync has made the one file into the other.
	out, err := exec.Command("rsync", "-z", "--no-whole-file", "--ignore-times", "--stats", next, old).Output()
	if sent := regexp.MustCompile(`Total bytes sent: ([\d,]+)`).FindSubmatch(out); err == nil && sent != nil {
		n, _ := strconv.Atoi(strings.ReplaceAll(string(sent[1]), ",", ""))
		b.ReportMetric(float64(n), "rsync-B")
	}
}

// buildRelease builds the agent as a release is built, with the changes of an overlay.
func buildRelease(b *testing.B, to, version, overlay string) {
	b.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-overlay", overlay, "-ldflags", "-s -w -buildid= -X main.version="+version, "-o", to, "./agent/graced")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// overlay is what go build reads in place of a file: the same with one change.
func overlay(b *testing.B, dir, file, from, to string) string {
	b.Helper()
	path, err := filepath.Abs(filepath.Join("../..", file))
	if err != nil {
		b.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(source, []byte(from)) {
		b.Fatalf("%s has no %q: %v", path, from, err)
	}
	changed, replaced := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		b.Fatal(err)
	}
	for name, content := range map[string][]byte{changed: bytes.Replace(source, []byte(from), []byte(to), 1), replaced: text} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return replaced
}

func opened(b *testing.B, path string) File {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return File{ReaderAt: f, Size: info.Size()}
}
