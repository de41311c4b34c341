package spec

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

// MaxBytes bounds a service file.
const MaxBytes = 256 << 10

// Parse reads the service file called name. Its error is a strict.Errors with
// every mistake that can be found without the host.
func Parse(name string, data []byte) (*File, error) { return ParseFor(name, data, nil) }

// ParseFor is Parse for one host: expand puts what is known of it into each text. A
// nil expand leaves them as they are.
func ParseFor(name string, data []byte, expand func(string) (string, error)) (*File, error) {
	var f File
	err := strict.Decode(name, data, MaxBytes, func(s *strict.Decoder, v strict.Value) {
		s.Expand = expand
		(&decoder{s}).file(v, &f)
	})
	if err != nil {
		return nil, err
	}
	return &f, nil
}

// decoder reads the keys of one file.
type decoder struct{ *strict.Decoder }

// file reads the top-level keys.
func (d *decoder) file(v strict.Value, f *File) {
	seen := d.Object(v, []strict.Field{
		{"name", d.nameOf(&f.Name)},
		{"command", d.TextsOf(&f.Command)},
		{"artifact", d.artifactOf(&f.Artifact)},
		{"args", d.TextsOf(&f.Args)},
		{"files", d.filesOf(&f.Files)},
		{"credentials", d.credentialsOf(&f.Credentials)},
		{"env", d.mapOf(&f.Env)},
		{"env_file", d.TextOf(&f.EnvFile)},
		{"user", d.TextOf(&f.User)},
		{"working_directory", d.directoryOf(&f.WorkingDirectory)},
		{"preset", d.TextOf(&f.Preset)},
		{"handover", d.handoverOf(&f.Handover)},
		{"sockets", d.socketsOf(&f.Sockets)},
		{"ready", d.readyOf(&f.Ready)},
		{"upgrade", d.upgradeOf(&f.Upgrade)},
		{"drain", d.drainOf(&f.Drain)},
		{"restart", d.restartOf(&f.Restart)},
		{"keep_generations", d.keepOf(&f.KeepGenerations)},
	})
	d.Required(v, seen, "name")
}

var nameForm = regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\z`)

func (d *decoder) nameOf(p *string) func(strict.Value) {
	return strict.ParsedOf(d.Decoder, p, parseName)
}

func parseName(text string) (string, error) {
	if !nameForm.MatchString(text) {
		return "", fmt.Errorf("%q is not a name: use 1 to 63 of a-z, 0-9, and . _ - between them", text)
	}
	return text, nil
}

func (d *decoder) artifactOf(p *Artifact) func(strict.Value) {
	return func(v strict.Value) {
		s, ok := d.Text(v)
		switch {
		case !ok:
		case s == "":
			d.Fail(v, "want a path, https://...#sha256=HEX, sha256:HEX or host:/PATH")
		case strings.HasPrefix(s, "sha256:"):
			if !IsDigest(s) {
				d.Fail(v, "%q is not a digest: want sha256: and 64 lowercase hex digits", s)
			}
			p.Ref = s
		case strings.HasPrefix(s, "host:"):
			if h := s[len("host:"):]; !path.IsAbs(h) {
				d.Fail(v, "%q: want an absolute path on the host, as host:/usr/sbin/nginx", s)
			}
			p.Ref = s
		case strings.HasPrefix(s, "https://"):
			var err error
			if *p, err = ParseURL(s); err != nil {
				d.Fail(v, "%v", err)
			}
		default:
			p.Path = d.Local(s)
		}
	}
}

func (d *decoder) filesOf(p *map[string]string) func(strict.Value) {
	return func(v strict.Value) {
		d.mapOf(p)(v)
		for name, file := range *p {
			(*p)[name] = d.Local(file)
		}
	}
}

func (d *decoder) credentialsOf(p *map[string]string) func(strict.Value) {
	return func(v strict.Value) {
		d.mapOf(p)(v)
		for _, name := range slices.Sorted(maps.Keys(*p)) {
			if file := (*p)[name]; !path.IsAbs(file) {
				d.Fail(v, "%s: %q is relative: it is read on the host, write an absolute path", name, file)
			}
		}
	}
}

func (d *decoder) directoryOf(p *string) func(strict.Value) {
	return func(v strict.Value) {
		s, ok := d.Text(v)
		if ok && s != "" && !path.IsAbs(s) {
			d.Fail(v, "%q is relative: the agent has no directory of yours, write an absolute path", s)
			return
		}
		*p = s
	}
}

func (d *decoder) handoverOf(p **Handover) func(strict.Value) {
	return func(v strict.Value) {
		*p = &Handover{}
		d.Object(v, []strict.Field{{"dialect", d.TextOf(&(*p).Dialect)}, {"env", d.mapOf(&(*p).Env)}})
	}
}

func (d *decoder) keepOf(p **int32) func(strict.Value) {
	return func(v strict.Value) {
		*p = new(int32)
		d.countOf(*p, 0)(v)
	}
}
