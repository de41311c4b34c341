package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/agent/internal/fetch"
)

func TestDeployedSampleIsUnderstood(t *testing.T) {
	var c Config
	if err := ReadConfig("../deploy/graced.yaml", true, &c); err != nil {
		t.Error(err)
	}
}

// What the sample has in comments is right, too.
func TestDeployedSampleIsRightWhenUncommented(t *testing.T) {
	text, err := os.ReadFile("../deploy/graced.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	within := false
	for line := range strings.Lines(string(text)) {
		bare := strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ")
		switch {
		case strings.HasPrefix(bare, "fetch:"), strings.HasPrefix(bare, "listen:"), strings.HasPrefix(bare, "tls:"), strings.HasPrefix(bare, "registry:"), strings.HasPrefix(bare, "access:"), strings.HasPrefix(bare, "require_signature:"), strings.HasPrefix(bare, "signing_keys:"):
			within = true
		case !strings.HasPrefix(line, "#"):
			within = false
		}
		if within {
			out.WriteString(bare)
		} else {
			out.WriteString(line)
		}
	}
	var c Config
	if err := ReadConfig(configFile(t, out.String()), true, &c); err != nil {
		t.Fatalf("%v in\n%s", err, &out)
	}
	if err := c.Access.policy().Validate(); err != nil {
		t.Error(err)
	}
	if p, err := c.signatures(); err != nil || !p.Required("web") || len(c.SigningKeys) != 2 {
		t.Errorf("signatures: %v in %+v", err, c.SigningKeys)
	}
	if p, err := c.fetching(); err != nil || reflect.DeepEqual(p, &fetch.Policy{}) || len(c.Fetch.From) != 1 {
		t.Errorf("fetch: %v in %+v", err, c.Fetch)
	}
	if e, err := c.Registry.Entry("web-1", "spiffe://example.org/gracefleet/agent/web-1", "web-1:7443"); err != nil || e == nil {
		t.Errorf("registry: %v in %+v", err, c.Registry)
	}
	if c.Listen == "" || c.TLS.Complete() != nil || len(c.Access.Roles) != 2 || len(c.Access.Certificates) != 1 {
		t.Errorf("it says %+v", c)
	}
}

func TestLimits(t *testing.T) {
	for text, want := range map[string]Size{"20GiB": 20 << 30, "1MiB": 1 << 20, "3KiB": 3 << 10, "2TiB": 2 << 40, "4096": 4096} {
		var c Config
		if err := ReadConfig(configFile(t, "limits: {artifacts: "+text+"}\n"), true, &c); err != nil || c.Limits.Artifacts != want || c.Limits.options().Quota != int64(want) {
			t.Errorf("%s is %d, %v", text, c.Limits.Artifacts, err)
		}
	}
	for _, text := range []string{"0", "-1GiB", "1.5GiB", "20GB", "GiB", "1 GiB", "9999999999GiB", "[1]", "{a: 1}", "many"} {
		var c Config
		if err := ReadConfig(configFile(t, "limits: {artifacts: "+text+"}\n"), true, &c); err == nil {
			t.Errorf("%s is %d", text, c.Limits.Artifacts)
		}
	}
	var c Config
	if err := ReadConfig(configFile(t, "limits: {artefacts: 1GiB}\n"), true, &c); err == nil || !strings.Contains(err.Error(), "artefacts") {
		t.Errorf("an unknown limit: %v", err)
	}
}

func TestUnknownKeysAreNamedWithTheirLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graced.yaml")
	if err := os.WriteFile(path, []byte("log_level: info\nloglevel: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c Config
	err := ReadConfig(path, true, &c)
	if err == nil || !strings.Contains(err.Error(), "loglevel") || !strings.Contains(err.Error(), "[2:") {
		t.Errorf("the error does not name the key and its line: %v", err)
	}
}

func TestAnEmptyFileChangesNothing(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "{}\n"} {
		c := Config{LogFormat: "json", File: "x"}
		if err := ReadConfig(configFile(t, text), true, &c); err != nil || c.LogFormat != "json" || c.File != "x" {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

func TestMissingFileIsAnErrorOnlyWhenNamed(t *testing.T) {
	var c Config
	path := filepath.Join(t.TempDir(), "none.yaml")
	if err := ReadConfig(path, false, &c); err != nil {
		t.Error(err)
	}
	if err := ReadConfig(path, true, &c); err == nil {
		t.Error("a named file that is not there is no error")
	}
}
