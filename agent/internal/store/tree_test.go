package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

type entry struct {
	name, content, link string
	kind                byte
	mode                int64
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.content))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func putTree(s *Store, data []byte) (Artifact, error) {
	u, _, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: "app.tar", Tree: true})
	if err != nil {
		return Artifact{}, err
	}
	if _, err := u.Write(data); err != nil {
		return Artifact{}, errors.Join(err, u.Close())
	}
	return u.Commit()
}

func TestTree(t *testing.T) {
	plain := archive(t,
		entry{name: "./", kind: tar.TypeDir, mode: 0o777},
		entry{name: "bin/web", content: "#!/bin/sh\n", mode: 0o6755},
		entry{name: "lib/data", content: "data", mode: 0o666},
		entry{name: "lib/link", kind: tar.TypeSymlink, link: "../bin/web"},
	)
	var squeezed bytes.Buffer
	z := gzip.NewWriter(&squeezed)
	z.Write(plain)
	z.Close()
	for name, data := range map[string][]byte{"plain": plain, "gzip": squeezed.Bytes()} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Options{})
			a, err := putTree(s, data)
			if err != nil || !a.Tree {
				t.Fatalf("%+v, %v", a, err)
			}
			dir, err := s.Tree(a.Digest)
			if err != nil {
				t.Fatal(err)
			}
			for file, mode := range map[string]os.FileMode{"bin": os.ModeDir | 0o755, "bin/web": 0o555, "lib/data": 0o444} {
				if info, err := os.Lstat(filepath.Join(dir, file)); err != nil || info.Mode() != mode {
					t.Errorf("%s: %v, %v; want %v", file, info.Mode(), err, mode)
				}
			}
			if got, err := os.ReadFile(filepath.Join(dir, "lib/link")); err != nil || string(got) != "#!/bin/sh\n" {
				t.Errorf("through the link: %q, %v", got, err)
			}
		})
	}
}

// Whoever changes the tree changes nothing for the next start.
func TestTreeIsUnpackedAnewWhenItChanged(t *testing.T) {
	s := open(t, Options{})
	a, err := putTree(s, archive(t, entry{name: "bin/web", content: "good", mode: 0o755}))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := s.Tree(a.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func() error{
		"content": func() error {
			return errors.Join(os.Chmod(filepath.Join(dir, "bin/web"), 0o755), os.WriteFile(filepath.Join(dir, "bin/web"), []byte("evil"), 0o755))
		},
		"another file": func() error { return os.WriteFile(filepath.Join(dir, "bin/more"), nil, 0o755) },
		"a file less":  func() error { return os.Remove(filepath.Join(dir, "bin/web")) },
		"all of it":    func() error { return os.RemoveAll(dir) },
	} {
		if err := harm(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.Tree(a.Digest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "bin/web"))
		if _, more := os.Stat(filepath.Join(dir, "bin/more")); err != nil || string(got) != "good" || more == nil {
			t.Errorf("after %s: %q, %v, more: %v", name, got, err, more)
		}
	}
}

func TestBadTrees(t *testing.T) {
	file := entry{name: "bin/web", content: "x", mode: 0o755}
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"no archive":               {[]byte("#!/bin/sh\nexit\n"), ErrNotExecutable},
		"truncated":                {archive(t, file)[:300], ErrNotExecutable},
		"no file":                  {archive(t, entry{name: "bin", kind: tar.TypeDir}), ErrNotExecutable},
		"leads up":                 {archive(t, file, entry{name: "../../etc/passwd", content: "x"}), ErrNotExecutable},
		"an absolute name":         {archive(t, file, entry{name: "/etc/passwd", content: "x"}), ErrNotExecutable},
		"a link up":                {archive(t, file, entry{name: "lib/up", kind: tar.TypeSymlink, link: "../../x"}), ErrNotExecutable},
		"an absolute link":         {archive(t, file, entry{name: "up", kind: tar.TypeSymlink, link: "/etc"}), ErrNotExecutable},
		"a file through a link":    {archive(t, entry{name: "a", kind: tar.TypeDir}, entry{name: "l", kind: tar.TypeSymlink, link: "a"}, entry{name: "l/../../x", content: "x"}), ErrNotExecutable},
		"a device":                 {archive(t, file, entry{name: "dev", kind: tar.TypeChar}), ErrNotExecutable},
		"a hard link":              {archive(t, file, entry{name: "hard", kind: tar.TypeLink, link: "/etc/shadow"}), ErrNotExecutable},
		"gzip of nothing sensible": {[]byte{0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, ErrNotExecutable},
	} {
		s := open(t, Options{})
		a, err := putTree(s, c.data)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v; want %v", name, a, err, c.want)
		}
		if left, _ := filepath.Glob(s.path("uploads", "*")); len(left) > 0 {
			t.Errorf("%s: %q is left", name, left)
		}
		if _, err := s.GetArtifact(sum(c.data)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s is stored: %v", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, entry{name: "bin/web", content: "x", mode: 0o755}, entry{name: "l", kind: tar.TypeSymlink, link: "bin"}))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		outside := t.TempDir()
		dir := filepath.Join(outside, "tree")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = unpackInto(bytes.NewReader(data), dir, 1<<20) // whatever it says
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
			t.Errorf("something got out of the tree: %v, %v", entries, err)
		}
	})
}
