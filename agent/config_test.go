package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDeployedSampleIsUnderstood(t *testing.T) {
	var c Config
	if err := ReadConfig("../deploy/graced.yaml", true, &c); err != nil {
		t.Error(err)
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
