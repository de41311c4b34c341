package contexts

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory/fetch"
	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

// MaxBytes bounds the file.
const MaxBytes = 256 << 10

// File is a configuration.
type File struct {
	// Current is the name of the context that counts when none is asked for; empty
	// for none.
	Current  string
	Contexts map[string]Context
}

// Context is where to go, and as whom. What is empty was not said. Paths are absolute,
// or relative to the working directory.
type Context struct {
	// Agent is unix:PATH or HOST:PORT. At most one of it and Inventory is set.
	Agent   string
	AgentID string
	// Inventory is FILE, exec:..., srv:... or etcds://....
	Inventory              string
	TLSCert, TLSKey, TLSCA string
	// Coordinator is etcds://....
	Coordinator string
	// Who asks an etcd, as inventory or as coordinator. The password is in a file.
	EtcdCA, EtcdCert, EtcdKey  string
	EtcdUser, EtcdPasswordFile string
}

// Parse reads the configuration called name. Its error is a strict.Errors with every
// mistake.
func Parse(name string, data []byte) (*File, error) {
	f := &File{Contexts: map[string]Context{}}
	err := strict.Decode(name, data, MaxBytes, func(s *strict.Decoder, v strict.Value) {
		(&decoder{s}).file(v, f)
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Find returns the context of a name, or with "" the current one, which may be none.
func (f *File) Find(name string) (Context, error) {
	if name == "" {
		return f.Contexts[f.Current], nil
	}
	c, ok := f.Contexts[name]
	if !ok {
		return Context{}, fmt.Errorf("no context is called %q: %s", name, f.others(name))
	}
	return c, nil
}

func (f *File) others(name string) string {
	if len(f.Contexts) == 0 {
		return "there are none"
	}
	return strict.Choose(name, slices.Sorted(maps.Keys(f.Contexts)))
}

type decoder struct{ *strict.Decoder }

func (d *decoder) file(v strict.Value, f *File) {
	seen := d.Object(v, []strict.Field{
		{"current", d.TextOf(&f.Current)},
		{"contexts", func(v strict.Value) {
			d.Entries(v, func(name string, at, val strict.Value) {
				if name == "" {
					d.Fail(at, "a context needs a name")
					return
				}
				f.Contexts[name] = d.context(val)
			})
		}},
	})
	if _, ok := f.Contexts[f.Current]; f.Current != "" && !ok {
		d.Fail(seen["current"], "no context is called %q: %s", f.Current, f.others(f.Current))
	}
}

func (d *decoder) context(v strict.Value) Context {
	var c Context
	seen := d.Object(v, []strict.Field{
		{"agent", d.TextOf(&c.Agent)},
		{"agent_id", d.TextOf(&c.AgentID)},
		{"inventory", d.sourceOf(&c.Inventory)},
		{"tls_cert", d.pathOf(&c.TLSCert)},
		{"tls_key", d.pathOf(&c.TLSKey)},
		{"tls_ca", d.pathOf(&c.TLSCA)},
		{"coordinator", d.TextOf(&c.Coordinator)},
		{"etcd_ca", d.pathOf(&c.EtcdCA)},
		{"etcd_cert", d.pathOf(&c.EtcdCert)},
		{"etcd_key", d.pathOf(&c.EtcdKey)},
		{"etcd_user", d.TextOf(&c.EtcdUser)},
		{"etcd_password_file", d.pathOf(&c.EtcdPasswordFile)},
	})
	switch {
	case c.Agent != "" && c.Inventory != "":
		d.Fail(seen["inventory"], "agent is set too: a context is one agent's or an inventory's")
	case c.Agent == "" && c.AgentID != "":
		d.Fail(seen["agent_id"], "agent is not set: the hosts of an inventory have identities of their own")
	}
	return c
}

// sourceOf reads an inventory's place, of which only a file's path may be relative.
func (d *decoder) sourceOf(p *string) func(strict.Value) {
	return func(v strict.Value) {
		d.TextOf(p)(v)
		if *p != "" && fetch.IsFile(*p) {
			*p = d.Local(*p)
		}
	}
}

func (d *decoder) pathOf(p *string) func(strict.Value) {
	return func(v strict.Value) {
		if d.TextOf(p)(v); *p != "" {
			*p = d.Local(*p)
		}
	}
}
