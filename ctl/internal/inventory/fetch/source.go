package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// Source is where an inventory is kept.
type Source interface {
	// Read returns the inventory as it is now. Programs and name servers are given up
	// on when ctx ends.
	Read(ctx context.Context) (*inventory.Inventory, error)
}

// srvForm is RFC 2782: _service._protocol.domain.
var srvForm = regexp.MustCompile(`\A_[A-Za-z0-9-]{1,62}\._(tcp|udp)\.[A-Za-z0-9]([A-Za-z0-9.-]{0,200}[A-Za-z0-9])?\z`)

// Texts that name no file begin with one of these, or as an etcd.
const (
	ofProgram = "exec:"
	ofDomain  = "srv:"
)

// IsFile says whether a text names a file, by its path.
func IsFile(text string) bool {
	return !etcd.Is(text) && !strings.HasPrefix(text, ofProgram) && !strings.HasPrefix(text, ofDomain)
}

// Parse returns the source that a text names: a file by its path, a program as
// exec:/PATH or exec:["/PATH","ARGUMENT"], service records as
// srv:_gracefleet._tcp.example.org, what agents have registered as
// etcds://HOST,HOST/PREFIX, which access is for.
func Parse(text string, access etcd.Access) (Source, error) {
	if etcd.Is(text) {
		place, err := etcd.ParsePlace(text)
		return registry{place: place, access: access}, err
	}
	if name, ok := strings.CutPrefix(text, ofDomain); ok {
		if !srvForm.MatchString(name) {
			return nil, fmt.Errorf("%q: want srv:_SERVICE._tcp.DOMAIN, such as srv:_gracefleet._tcp.example.org", text)
		}
		return records{name: name, lookup: net.DefaultResolver.LookupSRV}, nil
	}
	if command, ok := strings.CutPrefix(text, ofProgram); ok {
		argv, err := parseCommand(command)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		return program{argv: argv, limit: execLimit}, nil
	}
	if text == "" {
		return nil, errors.New("an inventory without a name: want FILE, exec:/PATH, srv:_SERVICE._tcp.DOMAIN or etcds://HOST/PREFIX")
	}
	return file(text), nil
}

// parseCommand reads a program's path, or a JSON list of it and its arguments. No
// shell reads it, and PATH decides nothing.
func parseCommand(text string) ([]string, error) {
	argv := []string{text}
	if strings.HasPrefix(text, "[") {
		argv = nil
		if err := json.Unmarshal([]byte(text), &argv); err != nil {
			return nil, fmt.Errorf(`want a list as in exec:["/usr/local/bin/hosts","--region","eu"]: %w`, err)
		}
	}
	switch {
	case len(argv) == 0 || !filepath.IsAbs(argv[0]):
		return nil, errors.New("want the absolute path of a program, as in exec:/usr/local/bin/hosts")
	case strings.ContainsRune(strings.Join(argv, ""), 0):
		return nil, errors.New("no program can be given a NUL character")
	}
	return argv, nil
}
