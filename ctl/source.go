package ctl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/ctl/internal/spec"
)

// readSpec reads a service file; "-" is standard input.
func (s *session) readSpec(name string) (*spec.File, error) {
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
	return spec.Parse(name, data)
}

// source is an artifact that an argument or a service file names.
func source(text string) spec.Artifact {
	if strings.HasPrefix(text, "sha256:") || strings.HasPrefix(text, "host:") {
		return spec.Artifact{Ref: text}
	}
	return spec.Artifact{Path: text}
}

// supply turns an artifact into what the agent knows it by, pushing a local
// one that the agent lacks. A dry run pushes nothing; missing is then true.
func (s *session) supply(ctx context.Context, c *client, a spec.Artifact, dryRun bool) (ref string, missing bool, err error) {
	if a.Path == "" {
		ref, err = c.fullDigest(ctx, a.Ref)
		return ref, false, err
	}
	up, err := openUpload(a.Path)
	if err != nil {
		return "", false, err
	}
	defer up.close()
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
		up, err := openUpload(files[name])
		if err != nil {
			return nil, false, fmt.Errorf("files.%s: %w", name, err)
		}
		up.header.Data, up.header.Tree = true, false
		digests[name] = up.header.Digest
		held, err := s.supplyFile(ctx, c, up, dryRun)
		up.close()
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
