package join

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"github.com/gracefleet/gracefleet/internal/wholefile"
)

// settings are the keys of the agent's configuration that make it use its files.
type settings struct {
	Listen string `yaml:"listen"`
	TLS    struct {
		Cert    string `yaml:"cert"`
		Key     string `yaml:"key"`
		CA      string `yaml:"ca"`
		Revoked string `yaml:"revoked"`
		Renew   string `yaml:"renew"`
	} `yaml:"tls"`
}

// Lines are what the agent's configuration needs to listen, and to be renewed by the
// CA at an address.
func (p Place) Lines(listen, renew string) (string, error) {
	s := settings{Listen: listen}
	s.TLS.Cert, s.TLS.Key, s.TLS.CA, s.TLS.Revoked, s.TLS.Renew = p.Certificate(), p.Certificate(), p.CA(), p.CRL(), renew
	text, err := yaml.Marshal(s)
	return string(text), err
}

// Configure writes the agent's configuration if there is none. It says whether the
// lines are in it: what somebody has written is for them to change.
func (p Place) Configure(lines string) (done bool, err error) {
	was, err := os.ReadFile(p.Config)
	if err == nil {
		return bytes.Contains(was, []byte(lines)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(p.Config), 0o755); err != nil {
		return false, err
	}
	head := fmt.Sprintf("# Written by gracectl host join; %s is renewed by the agent.\n", p.Certificate())
	return true, wholefile.Replace(p.Config, []byte(head+lines), 0o644)
}
