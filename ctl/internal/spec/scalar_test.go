package spec

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTextIsTakenAsWritten(t *testing.T) {
	for written, want := range map[string]string{
		"1.10": "1.10", "0660": "0660", "on": "on", "yes": "yes", "true": "true", "null": "null", "~": "~",
		"0x10": "0x10", "1_000": "1_000", ".inf": ".inf", "2001-01-01": "2001-01-01", "": "",
		`"a\tb"`: "a\tb", "'it''s'": "it's", "tcp://[::]:80": "tcp://[::]:80", "1e3": "1e3", "+1": "+1",
	} {
		f := parse(t, "name: web\nenv:\n  V: "+written+"\nuser: "+written)
		if f.Env["V"] != want || f.User != want {
			t.Errorf("%q became %q and %q", written, f.Env["V"], f.User)
		}
	}
}

func TestPermissionIsOctal(t *testing.T) {
	for written, want := range map[string]uint32{"0660": 0o660, "660": 0o660, "0o600": 0o600, `"0644"`: 0o644, "0": 0} {
		f := parse(t, "name: web\nsockets: [{name: a, listen: 'unix:///a', mode: "+written+"}]")
		if got := f.Sockets[0].Mode; got == nil || *got != want {
			t.Errorf("%s became %v", written, got)
		}
	}
	if f := parse(t, "name: web\nsockets: [{name: a, listen: 'unix:///a'}]"); f.Sockets[0].Mode != nil {
		t.Error("a mode that was not given is set")
	}
}

func TestParsePercent(t *testing.T) {
	for text, want := range map[string]int32{"1%": 100, "0.5%": 50, "0.05%": 5, "0.01%": 1, "99.99%": 9999, "10%": 1000, "12.5%": 1250} {
		if got, err := ParsePercent(text); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1", "%", "0%", "100%", "101%", "0.001%", "-1%", "1 %", "1.%", ".5%", "1e1%", "1%%", "9999%", "1%\n"} {
		if got, err := ParsePercent(text); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"200ms": 200 * time.Millisecond, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "0": 0, "0s": 0} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "10mm", "10", "-1s", "1d", "s", "10 s"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is taken as %s", text, got)
		}
	}
}

func TestDurationLeftOutIsNotZero(t *testing.T) {
	if f := parse(t, "name: web\nupgrade: {hold: 1s}"); f.Upgrade.Soak != nil {
		t.Error("soak is set")
	}
	f := parse(t, "name: web\nupgrade: {soak: 0s}\nkeep_generations: 0")
	if f.Upgrade.Soak == nil || *f.Upgrade.Soak != 0 || f.KeepGenerations == nil || *f.KeepGenerations != 0 {
		t.Errorf("zeros were lost: %v %v", f.Upgrade.Soak, f.KeepGenerations)
	}
}

func TestEmptyListIsGiven(t *testing.T) {
	if f := parse(t, "name: web\nargs: []"); f.Args == nil {
		t.Error("args: [] was lost")
	}
}

// reject wants exactly one mistake, and it to read as given.
func reject(t *testing.T, text, want string) {
	t.Helper()
	_, err := Parse("web.yaml", []byte(text))
	if err == nil {
		t.Fatalf("taken:\n%s", text)
	}
	if got := err.Error(); !strings.HasPrefix(got, "web.yaml:"+want) || strings.Contains(got, "\n") {
		t.Errorf("%q\n got %s\nwant web.yaml:%s", text, got, want)
	}
}

// What a host has is in the texts before they are checked; keys stay.
func TestTextsOfAHost(t *testing.T) {
	expand := func(text string) (string, error) {
		if strings.Contains(text, "{host.vars.no}") {
			return "", errors.New("it has no vars")
		}
		return strings.ReplaceAll(text, "{host.vars.port}", "8081"), nil
	}
	text := "name: web\nsockets: [{name: http, listen: \"tcp://0.0.0.0:{host.vars.port}\"}]\nenv: {\"{host.vars.port}\": \"{artifact} {host.vars.port}\"}\n"
	f, err := ParseFor("web.yaml", []byte(text), expand)
	if err != nil || f.Sockets[0].Listen != "tcp://0.0.0.0:8081" || f.Env["{host.vars.port}"] != "{artifact} 8081" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := Parse("web.yaml", []byte(text)); err == nil {
		t.Error("a placeholder is an address")
	}
	_, err = ParseFor("web.yaml", []byte("name: web\nargs: [a, \"{host.vars.no}\"]\nuser: \"{host.vars.no}\"\n"), expand)
	if want := "web.yaml:2:11: args[1]: it has no vars\nweb.yaml:3:7: user: it has no vars"; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"name: web\nenf: {}":                                `2:1: enf: unknown key: did you mean "env"?`,
		"name: web\ndrain: {timeot: 1s}":                    `2:9: drain.timeot: unknown key: did you mean "timeout"?`,
		"name: web\ndrain: {zzzzzz: 1s}":                    "2:9: drain.zzzzzz: unknown key: use one of mode, patience",
		"name: web\nname: web":                              "2:1: name: duplicate key, first in line 1",
		"name: web\ndrain:\n  timeout: 10mm":                `3:12: drain.timeout: "10mm" is not a duration`,
		"name: web\ndrain: {timeout: }":                     `2:18: drain.timeout: "" is not a duration`,
		"name: web\nupgrade: {steps: [1%, 5]}":              `2:23: upgrade.steps[1]: "5" is not a percent`,
		"name: web\nready: {notify: {}, alive_for: 2s}":     "2:21: ready.alive_for: notify is set too",
		"name: web\nready: {notify: {a: 1}}":                "2:18: ready.notify.a: unknown key: nothing goes in here",
		"name: web\nready: {exec: {}}":                      "2:15: ready.exec: the key command is missing",
		"name: web\nsockets: [{name: a, listen: ':0'}]":     `2:29: sockets[0].listen: ":0" is not an address`,
		"name: web\nsockets: {name: a}":                     "2:10: sockets: want a list such as [a, b], got a mapping",
		"name: web\nargs: a":                                "2:7: args: want a list such as [a, b], got a single value",
		"name: web\ndrain: [1]":                             "2:8: drain: want a mapping of keys to values, got a list",
		"name: web\nuser: {}":                               "2:7: user: want text, got a mapping",
		"name: web\nuser: &x a":                             "2:7: user: want text, got an anchor or alias",
		"name: web\nuser: !!str x":                          "2:7: user: want text, got a tag",
		"name: web\nuser: \"a\\0b\"":                        "2:7: user: contains a NUL",
		"name: web\n? [a]\n: b":                             "2:3: want a plain key",
		"name: \"web\\n\"":                                  `1:7: name: "web\n" is not a name`,
		"name: a/b":                                         `1:7: name: "a/b" is not a name`,
		"name: " + strings.Repeat("a", 64):                  `1:7: name: "aaaa`,
		"name:":                                             `1:6: name: "" is not a name`,
		"user: a":                                           "1:1: the key name is missing",
		"- a":                                               "1:1: want a mapping of keys to values, got a list",
		"":                                                  "1:1: the file is empty",
		"# nothing":                                         "1:1: the file is empty",
		"name: web\n---\nname: b":                           "3:1: a second document",
		"name: [web":                                        "2:1: not YAML: ",
		"name: web\nartifact: host:nginx":                   `2:11: artifact: "host:nginx": want an absolute path`,
		"name: web\nartifact:":                              "2:10: artifact: want a path, https://...#sha256=HEX, sha256:HEX or host:/PATH",
		"name: web\nready: {notify: {}, tls: {}}":           "2:21: ready.tls: only http, grpc and tcp speak TLS",
		"name: web\nready: {http: {scheme: http, tls: {}}}": "2:9: ready.http: tls needs scheme: https",
		"name: web\nready: {tcp: {tls: {}}, tls: {}}":       "2:25: ready.tls: tls is set inside the probe too",
		"name: web\nupgrade: {check: {interval: 1s}}":       "2:18: upgrade.check: want one of http, grpc, tcp, exec",
		"name: web\nenv: {a=b: c}":                          `2:7: env.a=b: "a=b" is not a name`,
	} {
		reject(t, text, want)
	}
	reject(t, "name: web\nuser: "+strings.Repeat("a", MaxBytes), "1:1: file of 262")
}
