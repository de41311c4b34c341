package ctl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/spec"
)

// serviceText is a service file that was not decoded yet.
type serviceText struct {
	name string
	data []byte
}

// readSpec reads a service file; "-" is standard input.
func (s *session) readSpec(name string) (*spec.File, error) {
	t, err := s.readText(name)
	if err != nil {
		return nil, err
	}
	return spec.Parse(t.name, t.data)
}

// readText is readSpec without a look inside.
func (s *session) readText(name string) (*serviceText, error) {
	in := s.stdio.In
	if name == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("service file: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, spec.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("service file %s: %w", name, err)
	}
	return &serviceText{name, data}, nil
}

// decode reads the file for a host, whose name, labels and variables its texts may have.
func (t *serviceText) decode(host inventory.Host) (*spec.File, error) {
	return spec.ParseFor(t.name, t.data, host.Expand)
}

// varies says whether the file may differ from host to host.
func (t *serviceText) varies() bool { return bytes.Contains(t.data, []byte("{host.")) }

// specOfOne decodes a service file for the one host that is meant.
func (s *session) specOfOne(ctx context.Context, t *serviceText) (*spec.File, error) {
	if !t.varies() {
		return spec.Parse(t.name, t.data)
	}
	host, err := s.oneHost(ctx)
	if err != nil {
		return nil, err
	}
	return t.decode(host)
}

// source is an artifact that an argument or a service file names.
func source(text string) (spec.Artifact, error) {
	if strings.HasPrefix(text, "sha256:") || strings.HasPrefix(text, "host:") {
		return spec.Artifact{Ref: text}, nil
	}
	if !strings.HasPrefix(text, "https://") {
		return spec.Artifact{Path: text}, nil
	}
	a, err := spec.ParseURL(text)
	if err != nil {
		return a, usage("artifact: %v", err)
	}
	return a, nil
}

// supply turns an artifact into what the agent knows it by, pushing a local one that
// the agent lacks, or having it fetch one. A dry run moves nothing; missing is then
// true.
func (s *session) supply(ctx context.Context, c *client, a spec.Artifact, dryRun bool) (ref string, missing bool, err error) {
	if a.URL != "" {
		r, err := remote(a)
		if err != nil {
			return "", false, err
		}
		return s.supplyURL(ctx, c, r, dryRun)
	}
	if a.Path == "" {
		ref, err = c.fullDigest(ctx, a.Ref)
		return ref, false, err
	}
	up, err := s.stock.artifact(a.Path)
	if err != nil {
		return "", false, err
	}
	if dryRun {
		held, err := up.held(ctx, c)
		if err == nil && !held.GetComplete() {
			s.note("would push %s (%s)", a.Path, size(up.header.SizeBytes))
		}
		return up.header.Digest, !held.GetComplete(), err
	}
	if _, err := s.push(ctx, c, up); err != nil {
		return "", false, err
	}
	return up.header.Digest, false, nil
}

// fullDigest completes a digest of which the first digits were given, as the
// tables show it.
func (c *client) fullDigest(ctx context.Context, ref string) (string, error) {
	if !strings.HasPrefix(ref, "sha256:") || spec.IsDigest(ref) {
		return ref, nil
	}
	all, err := c.listArtifacts(ctx)
	if err != nil {
		return "", err
	}
	found := ""
	for _, a := range all {
		if !strings.HasPrefix(a.GetDigest(), ref) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%s stands for several artifacts: give more digits", ref)
		}
		found = a.GetDigest()
	}
	if found == "" {
		return "", fmt.Errorf("the agent holds no artifact %s: see gracectl artifact list", ref)
	}
	return found, nil
}

// supplyFiles does the same for the files that travel with a generation.
func (s *session) supplyFiles(ctx context.Context, c *client, files map[string]string, dryRun bool) (digests map[string]string, missing bool, err error) {
	digests = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		up, err := s.stock.data(files[name])
		if err != nil {
			return nil, false, fmt.Errorf("files.%s: %w", name, err)
		}
		digests[name] = up.header.Digest
		held, err := s.supplyFile(ctx, c, up, dryRun)
		if err != nil {
			return nil, false, fmt.Errorf("files.%s: %w", name, err)
		}
		missing = missing || !held
	}
	return digests, missing, nil
}

func (s *session) supplyFile(ctx context.Context, c *client, up *upload, dryRun bool) (held bool, err error) {
	if dryRun {
		st, err := up.held(ctx, c)
		return st.GetComplete(), err
	}
	_, err = s.push(ctx, c, up)
	return true, err
}

func hash(r io.Reader) (digest string, n int64, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), n, err
}
