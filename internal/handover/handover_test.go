package handover

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var two = []Socket{
	{Name: "http", Network: "tcp", Host: "127.0.0.1", Port: 8080},
	{Name: "admin", Network: "tcp", Host: "::", Port: 9090},
}

func TestAnnouncements(t *testing.T) {
	for name, want := range map[string]Announcement{
		ListenFDs: {Env: []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=http:admin"}, PIDEnv: []string{"LISTEN_PID"}},
		"env":     {},
		"nginx":   {Env: []string{"NGINX=3;4;"}},
		"haproxy": {Env: []string{"FD1=3", "FD2=4"}},
		// No LISTEN_PID: it is not looked at, and not unset.
		"gracehttp": {Env: []string{"LISTEN_FDS=2"}},
		"beego":     {Args: []string{"--graceful", "--socketorder=127.0.0.1:8080,:9090"}},
		"endless":   {Env: []string{"ENDLESS_CONTINUE=1", "ENDLESS_SOCKET_ORDER=127.0.0.1:8080,:9090"}},
		"overseer": {Env: []string{
			"OVERSEER_IS_SLAVE=1", "OVERSEER_SLAVE_ID=7", "OVERSEER_NUM_FDS=2", "OVERSEER_BIN_ID=gracefleet", "OVERSEER_BIN_PATH={artifact}",
		}},
		"tableflip": {
			Env:   []string{"TABLEFLIP_HAS_PARENT_7DIU3=yes"},
			Names: [][]string{{"listener", "tcp", "127.0.0.1:8080"}, {"listener", "tcp", ":9090"}},
		},
		"server_starter": {Env: []string{"SERVER_STARTER_PORT=127.0.0.1:8080=3;[::]:9090=4", "SERVER_STARTER_GENERATION=7"}},
		"einhorn": {
			Env:          []string{"EINHORN_FD_COUNT=2", "EINHORN_FD_0=3", "EINHORN_FD_FAMILY_0=AF_INET", "EINHORN_FD_1=4", "EINHORN_FD_FAMILY_1=AF_INET6"},
			ParentPIDEnv: []string{"EINHORN_MASTER_PID"}, AckEnv: "EINHORN_SOCK_PATH",
		},
		"graceful": {Env: []string{"GRACEFUL_WORKER=1", "GRACEFUL_NUMFD=2"}, ParentPIDEnv: []string{"GRACEFUL_PARENT_PID"}},
		"goagain": {
			Env:          []string{"GOAGAIN_FD=3", "GOAGAIN_NAME=tcp:127.0.0.1:8080->", "GOAGAIN_PID=", "GOAGAIN_SIGNAL=0"},
			ParentPIDEnv: []string{"GOAGAIN_PPID"},
		},
	} {
		d, ok := FindDialect(name)
		if !ok {
			t.Errorf("there is no dialect %s", name)
			continue
		}
		if diff := cmp.Diff(want, d.Announce(d.Number(two), 7)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got := d.Announce(nil, 7); len(got.Env)+len(got.Args) > 0 {
			t.Errorf("%s announces no sockets as %+v", name, got)
		}
	}
}

func TestDescriptorsFollowWhatComesFirst(t *testing.T) {
	d, _ := FindDialect("tableflip")
	if got := d.Number(two); got[0].FD != 5 || got[1].FD != 6 {
		t.Errorf("got %+v, want descriptors 5 and 6", got)
	}
}

// The tables are a page that users read.
func TestTablesAreWhole(t *testing.T) {
	for _, d := range Dialects() {
		if d.Programs == "" || d.Tells == "" || d.Drain == 0 {
			t.Errorf("dialect %s says too little: %+v", d.Name, d)
		}
		if d.announce == nil && d.Name != "env" {
			t.Errorf("dialect %s announces nothing", d.Name)
		}
	}
	for _, p := range Presets() {
		d, ok := FindDialect(p.Dialect)
		if !ok || p.Programs == "" || p.Drain == 0 || p.Drain == p.Wrong {
			t.Errorf("preset %s: %+v", p.Name, p)
		}
		if !slices.Contains([]string{ReadyNotify, ReadySignal, ReadyTCP}, p.Ready) {
			t.Errorf("preset %s has readiness %q", p.Name, p.Ready)
		}
		if p.Ready == ReadySignal && len(d.ParentSignals) == 0 {
			t.Errorf("preset %s waits for a signal that %s programs do not send", p.Name, d.Name)
		}
		if len(p.Command) > 0 && !strings.Contains(strings.Join(p.Command, " "), "{artifact}") {
			t.Errorf("preset %s does not run the artifact", p.Name)
		}
	}
}

func TestExpand(t *testing.T) {
	d, _ := FindDialect("env")
	v := Values{
		Artifact: "/a/web", Service: "web", Generation: 7, GenerationDir: "/run/g/7",
		Sockets: d.Number(two), Files: map[string]string{"web.toml": "/run/g/7/files/web.toml"},
		Credentials: map[string]string{"db": "/run/g/7.credentials/7/db"},
	}
	for text, want := range map[string]string{
		"":                                     "",
		"plain":                                "plain",
		"{artifact} -n {generation}":           "/a/web -n 7",
		"fd@{fd:http},{fd:admin}":              "fd@3,4",
		"{fds}":                                "3,4",
		"{addr:http} {addr:admin}":             "127.0.0.1:8080 [::]:9090",
		"-c {file:web.toml}":                   "-c /run/g/7/files/web.toml",
		"{credential:db}":                      "/run/g/7.credentials/7/db",
		"pid {generation_dir}/{service}.pid;":  "pid /run/g/7/web.pid;",
		`{"json": {"a": "{generation}"}, "b":`: `{"json": {"a": "7"}, "b":`,
		"${HOME} {} {unknown} {x:y} {{fds}}":   "${HOME} {} {unknown} {x:y} {3,4}",
		"{fd:nothing} {fd:http}":               "{fd:nothing} 3",
		"open {fd:http":                        "open {fd:http",
	} {
		if got := v.Expand(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if got := v.Unknown("{fd:nothing} {addr:http} {file:x} {credential:x} {other}"); !slices.Equal(got, []string{"{fd:nothing}", "{file:x}", "{credential:x}"}) {
		t.Errorf("unknown are %q", got)
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("{fd:http} {")
	f.Add("{{artifact}}")
	v := Values{Artifact: "A", Sockets: two}
	f.Fuzz(func(t *testing.T, text string) {
		got, unknown := v.expand(text)
		if !strings.Contains(text, "{") && got != text {
			t.Errorf("%q became %q", text, got)
		}
		if len(unknown) > strings.Count(text, "{") {
			t.Errorf("%q has %d unknown placeholders", text, len(unknown))
		}
	})
}
