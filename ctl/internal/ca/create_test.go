package ca

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/wholefile"
)

func TestCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config", "ca")
	a, err := Create(t.Context(), dir, "example.org")
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, CertificateFile: 0o644, KeyFile: 0o600, CRLFile: 0o644, JournalFile: 0o600} {
		info, err := os.Stat(a.Path(name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v", name, info.Mode(), err)
		}
	}
	list, err := a.CRL()
	if err != nil || list.Revoked != 0 || list.NextUpdate.Before(time.Now().Add(29*day)) {
		t.Errorf("%+v, %v", list, err)
	}
	before := files(t, dir)
	if _, err := Create(t.Context(), dir, "example.org"); err == nil || !strings.Contains(err.Error(), "has a CA already, of example.org until 20") {
		t.Errorf("%v", err)
	}
	if after := files(t, dir); after != before {
		t.Errorf("a refusal changed\n%s\ninto\n%s", before, after)
	}
}

// files is a directory's content, without the lock.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Name() + ":\n" + string(data))
	}
	return b.String()
}

func TestCreateRefuses(t *testing.T) {
	for what, test := range map[string]struct {
		file, text, want string
	}{
		"other files":       {"notes.txt", "x", "name an empty directory"},
		"a damaged CA":      {CertificateFile, "x", "a damaged one"},
		"a CA's journal":    {JournalFile, "{}\n", "bring that back from a backup"},
		"a damaged key":     {KeyFile, "x", "is no PEM file"},
		"another kind's CA": {"ca.srl", "01", "name an empty directory"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, test.file), test.text)
		if _, err := Create(t.Context(), dir, "example.org"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", what, err)
		}
		if data, _ := os.ReadFile(filepath.Join(dir, test.file)); string(data) != test.text {
			t.Errorf("%s: it was changed", what)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if _, err := Create(t.Context(), file, "example.org"); err == nil {
		t.Error("a file became a directory")
	}
	if _, err := Create(t.Context(), t.TempDir(), "example.org/"); err == nil {
		t.Error("a trust domain with a slash")
	}
}

// A creation that was cut off after any of its files is finished by the next,
// with the same key.
func TestCreateAfterACrash(t *testing.T) {
	whole := setUp(t, time.Now())
	order := []string{KeyFile, JournalFile, CRLFile}
	for n := range len(order) + 1 {
		dir := t.TempDir()
		for _, name := range order[:n] {
			data, _ := os.ReadFile(whole.Path(name))
			write(t, filepath.Join(dir, name), string(data))
		}
		write(t, filepath.Join(dir, wholefile.TempPrefix+"1"), "half a ke")
		if _, err := Open(dir); !errors.Is(err, ErrNoCA) {
			t.Errorf("%d files: %v", n, err)
		}
		if _, err := Lock(t.Context(), dir); !errors.Is(err, ErrNoCA) {
			t.Errorf("%d files: %v", n, err)
		}
		if _, err := Create(t.Context(), dir, "example.org"); err != nil {
			t.Errorf("%d files: %v", n, err)
			continue
		}
		s := reopen(t, dir, time.Now())
		if n > 0 && !s.key.Equal(whole.key) {
			t.Errorf("%d files: another key", n)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, wholefile.TempPrefix+"*")); len(left) > 0 {
			t.Errorf("%d files: %q is left", n, left)
		}
		issue(t, s, alice)
	}
}

// With nothing but its key a CA comes back, and what it had issued is good.
func TestKeyAloneBringsTheCABack(t *testing.T) {
	s := setUp(t, time.Now())
	cert, _ := issue(t, s, alice)
	dir := t.TempDir()
	data, _ := os.ReadFile(s.Path(KeyFile))
	write(t, filepath.Join(dir, KeyFile), string(data))
	a, err := Create(t.Context(), dir, "example.org")
	if err != nil || !a.Issued(cert) {
		t.Errorf("%v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	leaf := setUp(t, time.Now())
	_, out := issue(t, leaf, alice)
	another := setUp(t, time.Now())
	text := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	key := text(another.Path(KeyFile))
	for what, test := range map[string]struct {
		file, text, want string
	}{
		"a key for a certificate": {CertificateFile, key, "holds a PRIVATE KEY where a CERTIFICATE is expected"},
		"no PEM":                  {CertificateFile, "hello", "is no PEM file"},
		"an empty file":           {CertificateFile, "", "is empty"},
		"a leaf":                  {CertificateFile, text(out.Certificate), "is not the certificate of a CA"},
		"a damaged certificate":   {CertificateFile, "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "damaged certificate"},
		"another's certificate":   {CertificateFile, text(another.Path(CertificateFile)), "is not the key of"},
		"another's key":           {KeyFile, key, "is not the key of"},
		"no key":                  {KeyFile, "x", "is no PEM file"},
		"two keys":                {KeyFile, key + key, "holds more than a key"},
		"a key that is locked":    {KeyFile, "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n", "ENCRYPTED PRIVATE KEY"},
		"a damaged key":           {KeyFile, "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n", "damaged key"},
		"a damaged journal":       {JournalFile, "{}\n", JournalFile + ":1: serial"},
	} {
		s := setUp(t, time.Now())
		s.Close()
		write(t, s.Path(test.file), test.text)
		if _, err := Lock(t.Context(), s.Dir()); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), s.Dir()) {
			t.Errorf("%s: %v, want %q", what, err, test.want)
		}
	}
}

func TestSecretsMustBeSecret(t *testing.T) {
	s := setUp(t, time.Now())
	s.Close()
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		os.Chmod(s.Path(KeyFile), mode)
		if _, err := Lock(t.Context(), s.Dir()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%o: %v", mode, err)
		}
	}
	os.Chmod(s.Path(KeyFile), 0o600)
	os.Chmod(s.Dir(), 0o755)
	if _, err := Lock(t.Context(), s.Dir()); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("%v", err)
	}
	os.Chmod(s.Dir(), 0o700)
	os.Remove(s.Path(JournalFile))
	if _, err := Lock(t.Context(), s.Dir()); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("%v", err)
	}
	if _, err := Open(filepath.Join(s.Dir(), "nowhere")); !errors.Is(err, ErrNoCA) || !strings.Contains(err.Error(), "gracectl cert init") {
		t.Errorf("%v", err)
	}
}
