package kept

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func keep(t *testing.T, d Dir, name, content string, age time.Duration) string {
	t.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	if err := d.Keep(strings.NewReader(content), digest, name); err != nil {
		t.Fatal(err)
	}
	for _, f := range d.list() {
		if f.Digest == digest {
			then := time.Now().Add(-age)
			if err := os.Chtimes(f.Path, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	return digest
}

func digests(files []File) (all []string) {
	for _, f := range files {
		all = append(all, f.Digest)
	}
	return all
}

func TestTheMostAlikeComesFirst(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "gracefleet"))
	v1 := keep(t, d, "web-v1", "1", 3*time.Hour)
	v2 := keep(t, d, "web-v2", "2", 2*time.Hour)
	api := keep(t, d, "api/../x", "3", time.Hour)
	if got, want := digests(d.Files("web-v3")), []string{v2, v1, api}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	keep(t, d, "web-v1", "1", 0) // pushed again
	if got, want := digests(d.Files("web-v3")), []string{v1, v2, api}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, f := range d.Files("web-v3") {
		if info, err := os.Stat(f.Path); err != nil || info.Mode() != 0o600 || filepath.Dir(f.Path) != string(d) {
			t.Errorf("%v, %v", info, err)
		}
	}
}

func TestWhatIsTooMuchGoes(t *testing.T) {
	d := Dir(t.TempDir())
	var all []string
	for n := range MaxFiles + 3 {
		all = append(all, keep(t, d, "web", fmt.Sprint(n), time.Hour-time.Duration(n)*time.Minute))
	}
	got := digests(d.Files("web"))
	if len(got) != MaxFiles || got[0] != all[len(all)-1] || len(d.list()) != MaxFiles {
		t.Errorf("%d of %d are left", len(got), len(all))
	}
	// A sparse file takes the room of all.
	large := filepath.Join(string(d), strings.Repeat("a", 64)+"-web")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxTotal); err != nil {
		t.Fatal(err)
	}
	last := keep(t, d, "web", "last", 0)
	if got := digests(d.Files("web")); len(got) != 1 || got[0] != last {
		t.Errorf("left are %v", got)
	}
}

func TestWhatElseLiesThere(t *testing.T) {
	d := Dir(t.TempDir())
	long := time.Now().Add(-2 * staleAfter)
	for _, name := range []string{"notes-web", ".old.part", ".new.part", strings.Repeat("b", 64)} {
		path := filepath.Join(string(d), name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == ".old.part" {
			_ = os.Chtimes(path, long, long)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(string(d), strings.Repeat("c", 64)+"-web")); err != nil {
		t.Fatal(err)
	}
	kept := keep(t, d, "web", "x", 0)
	if got := digests(d.Files("web")); len(got) != 1 || got[0] != kept {
		t.Errorf("got %v", got)
	}
	entries, _ := os.ReadDir(string(d))
	if len(entries) != 5 {
		t.Errorf("there are %v", entries)
	}
}

func TestNoDirectory(t *testing.T) {
	if err := Dir("").Keep(strings.NewReader("x"), "sha256:00", "web"); err != nil || Dir("").Files("web") != nil {
		t.Errorf("got %v", err)
	}
	if Dir("/nonexistent/gracefleet").Files("web") != nil {
		t.Error("files of a directory that is not there")
	}
}
