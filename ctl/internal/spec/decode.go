package spec

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxBytes bounds a service file.
const MaxBytes = 256 << 10

// Parse reads the service file called name. Its error is an Errors with every
// mistake that can be found without the host.
func Parse(name string, data []byte) (*File, error) {
	d := &decoder{name: name}
	var f File
	if body, ok := d.parse(data); ok {
		d.file(value{node: body}, &f)
	}
	if len(d.errs) > 0 {
		return nil, d.errs.sorted()
	}
	return &f, nil
}

// decoder collects the mistakes of one file.
type decoder struct {
	name string
	errs Errors
}

func (d *decoder) fail(v value, format string, args ...any) {
	line, column := v.place()
	d.failAt(line, column, v.key, fmt.Sprintf(format, args...))
}

func (d *decoder) failAt(line, column int, key, reason string) {
	d.errs = append(d.errs, &Error{File: d.name, Line: line, Column: column, Key: key, Reason: reason})
}

// parse turns the bytes into the one document a service file has.
func (d *decoder) parse(data []byte) (ast.Node, bool) {
	if len(data) > MaxBytes {
		d.failAt(1, 1, "", fmt.Sprintf("file of %d bytes: at most %d", len(data), MaxBytes))
		return nil, false
	}
	// Duplicate keys are found by the decoder, which goes on after the first.
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil, false
	}
	if len(tree.Docs) > 1 {
		d.fail(value{node: tree.Docs[1].Body}, "a second document: one service per file")
		return nil, false
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		d.failAt(1, 1, "", "the file is empty: see gracectl explain spec")
		return nil, false
	}
	return tree.Docs[0].Body, true
}

func (d *decoder) syntax(err error) {
	line, column, reason := 1, 1, err.Error()
	var e yaml.Error
	if errors.As(err, &e) {
		reason = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			line, column = t.Position.Line, t.Position.Column
		}
	}
	d.failAt(line, column, "", "not YAML: "+reason)
}

// file reads the top-level keys.
func (d *decoder) file(v value, f *File) {
	seen := d.object(v, []field{
		{"name", d.nameOf(&f.Name)},
		{"command", d.textsOf(&f.Command)},
		{"artifact", d.artifactOf(&f.Artifact)},
		{"args", d.textsOf(&f.Args)},
		{"files", d.filesOf(&f.Files)},
		{"credentials", d.credentialsOf(&f.Credentials)},
		{"env", d.mapOf(&f.Env)},
		{"env_file", d.textOf(&f.EnvFile)},
		{"user", d.textOf(&f.User)},
		{"working_directory", d.directoryOf(&f.WorkingDirectory)},
		{"preset", d.textOf(&f.Preset)},
		{"handover", d.handoverOf(&f.Handover)},
		{"sockets", d.socketsOf(&f.Sockets)},
		{"ready", d.readyOf(&f.Ready)},
		{"upgrade", d.upgradeOf(&f.Upgrade)},
		{"drain", d.drainOf(&f.Drain)},
		{"restart", d.restartOf(&f.Restart)},
		{"keep_generations", d.keepOf(&f.KeepGenerations)},
	})
	d.required(v, seen, "name")
}

var nameForm = regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\z`)

func (d *decoder) nameOf(p *string) func(value) {
	return func(v value) {
		s, ok := d.text(v)
		switch {
		case !ok:
		case !nameForm.MatchString(s):
			d.fail(v, "%q is not a name: use 1 to 63 of a-z, 0-9, and . _ - between them", s)
		default:
			*p = s
		}
	}
}

func (d *decoder) artifactOf(p *Artifact) func(value) {
	return func(v value) {
		s, ok := d.text(v)
		switch {
		case !ok:
		case s == "":
			d.fail(v, "want a path, sha256:HEX or host:/PATH")
		case strings.HasPrefix(s, "sha256:"):
			if !IsDigest(s) {
				d.fail(v, "%q is not a digest: want sha256: and 64 lowercase hex digits", s)
			}
			p.Ref = s
		case strings.HasPrefix(s, "host:"):
			if h := s[len("host:"):]; !path.IsAbs(h) {
				d.fail(v, "%q: want an absolute path on the host, as host:/usr/sbin/nginx", s)
			}
			p.Ref = s
		default:
			p.Path = d.local(s)
		}
	}
}

// local resolves a path that is relative to the service file.
func (d *decoder) local(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(d.name), p)
}

func (d *decoder) filesOf(p *map[string]string) func(value) {
	return func(v value) {
		d.mapOf(p)(v)
		for name, file := range *p {
			(*p)[name] = d.local(file)
		}
	}
}

func (d *decoder) credentialsOf(p *map[string]string) func(value) {
	return func(v value) {
		d.mapOf(p)(v)
		for _, name := range slices.Sorted(maps.Keys(*p)) {
			if file := (*p)[name]; !path.IsAbs(file) {
				d.fail(v, "%s: %q is relative: it is read on the host, write an absolute path", name, file)
			}
		}
	}
}

func (d *decoder) directoryOf(p *string) func(value) {
	return func(v value) {
		s, ok := d.text(v)
		if ok && s != "" && !path.IsAbs(s) {
			d.fail(v, "%q is relative: the agent has no directory of yours, write an absolute path", s)
			return
		}
		*p = s
	}
}

func (d *decoder) handoverOf(p **Handover) func(value) {
	return func(v value) {
		*p = &Handover{}
		d.object(v, []field{{"dialect", d.textOf(&(*p).Dialect)}, {"env", d.mapOf(&(*p).Env)}})
	}
}

func (d *decoder) keepOf(p **int32) func(value) {
	return func(v value) {
		*p = new(int32)
		d.countOf(*p, 0)(v)
	}
}
