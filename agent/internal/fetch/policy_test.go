package fetch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServersProveThemselves(t *testing.T) {
	w := newWorld(t, serve(script()))
	w.ca = ""
	w.fetcher.SetPolicy(w.policy(w.server.URL + "/releases/"))
	if _, err := w.fetch(w.order(digestOf(script()))); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), "fetch.ca of graced.yaml") {
		t.Errorf("%v", err)
	}
	if len(w.requests()) > 0 {
		t.Error("a server that nobody knows was asked")
	}
	for name, write := range map[string]func(string) error{
		"is missing": func(string) error { return nil },
		"is empty":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		w.ca = filepath.Join(t.TempDir(), "ca.pem")
		if err := write(w.ca); err != nil {
			t.Fatal(err)
		}
		w.fetcher.SetPolicy(w.policy(w.server.URL + "/releases/"))
		if _, err := w.fetch(w.order(digestOf(script()))); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), w.ca) {
			t.Errorf("a file that %s: %v", name, err)
		}
	}
}

func TestNothingElseIsFetched(t *testing.T) {
	w := newWorld(t, serve(script()))
	for _, p := range []*Policy{{}, w.policy(w.server.URL + "/other/"), w.policy("https://127.0.0.1/releases/")} {
		w.fetcher.SetPolicy(p)
		if _, err := w.fetch(w.order(digestOf(script()))); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), fmt.Sprintf("%q", w.server.URL+"/releases/")) {
			t.Errorf("%v", err)
		}
	}
	if len(w.requests()) > 0 {
		t.Error("the server was asked")
	}
}

func TestNewPolicy(t *testing.T) {
	for text, words := range map[string]string{
		"https://h/releases/":     "",
		"https://h/":              "",
		"https://h:8443/":         "",
		"https://h":               "has no path",
		"https://h/releases":      "does not end in a slash",
		"https://h/releases/?a=b": "does not end in a slash",
		"http://h/releases/":      "no https",
		"https://u@h/releases/":   "a user",
		"https://h/releases/../":  "..",
		"https://*.example.org/":  "no host",
		"":                        "no https",
	} {
		_, err := NewPolicy([]string{"https://a/", text}, "", false)
		if (err == nil) != (words == "") || err != nil && (!strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "fetch.from[1]")) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := NewPolicy(nil, "ca.pem", false); err == nil {
		t.Error("a relative path of a CA")
	}
	if _, err := NewPolicy(make([]string, maxPrefixes+1), "", false); err == nil {
		t.Error("prefixes without end")
	}
}
