package ctl

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/gracefleet/gracefleet/api"
)

// configured is a directory for XDG_CONFIG_HOME with a configuration.
func configured(t *testing.T, text string) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "gracefleet", "gracectl.yaml")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// resolved is where a run with flags and an environment would go.
func resolved(t *testing.T, env map[string]string, line string) (*destination, string, error) {
	t.Helper()
	var said bytes.Buffer
	s := &session{stdio: Stdio{Err: &said, Getenv: func(k string) string { return env[k] }}}
	f := pflag.NewFlagSet("gracectl", pflag.ContinueOnError)
	s.flags.register(f)
	if err := f.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	err := s.resolve()
	return s.to, said.String(), err
}

const contextsOfTests = `
current: prod
contexts:
  prod: {inventory: /fleet.yaml, tls_cert: /file.pem, tls_key: /file.key, tls_ca: /ca.pem}
  one: {agent: "one:7443", agent_id: spiffe://file}
`

func TestFlagsBeforeEnvironmentBeforeFile(t *testing.T) {
	dir, _ := configured(t, contextsOfTests)
	file := api.TLS{CertFile: "/file.pem", KeyFile: "/file.key", CAFile: "/ca.pem"}
	for name, test := range map[string]struct {
		env  map[string]string
		line string
		want destination
	}{
		"the file's":            {want: destination{inventory: "/fleet.yaml", tls: file}},
		"another of the file's": {line: "--context one", want: destination{agent: "one:7443", agentID: "spiffe://file"}},
		"by environment":        {env: map[string]string{"GRACECTL_CONTEXT": "one"}, want: destination{agent: "one:7443", agentID: "spiffe://file"}},
		"flag before that":      {env: map[string]string{"GRACECTL_CONTEXT": "one"}, line: "--context prod", want: destination{inventory: "/fleet.yaml", tls: file}},
		"environment's agent": {
			env:  map[string]string{"GRACECTL_AGENT": "two:7443", "GRACECTL_TLS_CERT": "/env.pem"},
			want: destination{agent: "two:7443", tls: api.TLS{CertFile: "/env.pem", KeyFile: "/file.key", CAFile: "/ca.pem"}},
		},
		"environment's inventory": {env: map[string]string{"GRACECTL_INVENTORY": "srv:x"}, line: "--context one", want: destination{inventory: "srv:x"}},
		"flag's agent": {
			env:  map[string]string{"GRACECTL_INVENTORY": "srv:x", "GRACECTL_TLS_KEY": "/env.key"},
			line: "--agent three:7443 --tls-key /flag.key --agent-id spiffe://flag",
			want: destination{agent: "three:7443", agentID: "spiffe://flag", tls: api.TLS{CertFile: "/file.pem", KeyFile: "/flag.key", CAFile: "/ca.pem"}},
		},
		"flag's inventory": {env: map[string]string{"GRACECTL_AGENT": "two:7443"}, line: "--inventory f", want: destination{inventory: "f", tls: file}},
		// An identity belongs to the agent beside which it stands.
		"another agent than the identity's": {line: "--context one --agent three:7443", want: destination{agent: "three:7443"}},
		"identity by environment": {
			env: map[string]string{"GRACECTL_AGENT_ID": "spiffe://env"}, line: "--context one",
			want: destination{agent: "one:7443", agentID: "spiffe://env"},
		},
	} {
		env := map[string]string{"XDG_CONFIG_HOME": dir, "XDG_RUNTIME_DIR": "/run/user/1"}
		for k, v := range test.env {
			env[k] = v
		}
		to, said, err := resolved(t, env, test.line)
		if err != nil || said != "" {
			t.Errorf("%s: %v %s", name, err, said)
			continue
		}
		if to.inventory != "" {
			to.agent, to.agentID = "", "" // nobody asks
		}
		if diff := cmp.Diff(&test.want, to, cmp.AllowUnexported(destination{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestConfigurationsThatAreNotTaken(t *testing.T) {
	dir, file := configured(t, contextsOfTests)
	env := map[string]string{"XDG_CONFIG_HOME": dir}
	if _, _, err := resolved(t, env, "--context prdo"); err == nil || !strings.Contains(err.Error(), file+`: no context is called "prdo": did you mean "prod"?`) {
		t.Errorf("%v", err)
	}
	if _, _, err := resolved(t, map[string]string{"GRACECTL_AGENT": "a:1", "GRACECTL_INVENTORY": "b"}, ""); err == nil || !strings.Contains(err.Error(), "are both set") {
		t.Errorf("%v", err)
	}
	// Whoever may write the file could have programs run.
	if err := os.Chmod(file, 0o606); err != nil {
		t.Fatal(err)
	}
	to, said, err := resolved(t, env, "")
	if err != nil || to.inventory != "" || said != "note: "+file+" is somebody else's, or everybody may write it: it is not read\n" {
		t.Errorf("%+v %q %v", to, said, err)
	}
	if _, _, err := resolved(t, env, "--context prod"); err == nil || !strings.Contains(err.Error(), "is somebody else's") {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(file, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if _, said, err := resolved(t, env, ""); err != nil || !strings.Contains(said, "it is not read") {
			t.Errorf("%q %v", said, err)
		}
		if err := os.Chown(file, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, []byte("contxts: {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := gracectl(t, t.Context(), env, "status")
	if r.code != ExitError || r.err != file+":1:1: contxts: unknown key: did you mean \"contexts\"?\n" {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
