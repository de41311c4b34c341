package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// delivery brings hosts what they lack, from files of this machine or from where they
// fetch it by themselves.
func (s *session) delivery(spec rollout.Spec, g *seeding) func(context.Context, runner.Delivery) error {
	byName := s.hostsByName()
	return func(ctx context.Context, d runner.Delivery) error {
		for _, digest := range d.Missing {
			if r, ok := s.stock.remoteOf(digest); ok {
				if err := s.fetchTo(ctx, byName[d.Host], d, r); err != nil {
					return err
				}
				continue
			}
			up, err := s.fileOf(spec, digest, digest != spec.Releases[d.Release].Artifact)
			if err != nil {
				return err
			}
			if err := s.spreadTo(ctx, g, byName[d.Host], d, up); err != nil {
				return err
			}
		}
		return nil
	}
}

// deliverTo sends one file to one host.
func (s *session) deliverTo(ctx context.Context, host inventory.Host, d runner.Delivery, up *upload) error {
	c := newClient(d.Conn, host)
	var sent atomic.Int64
	c.moves = func(n int64) { d.Sent(sent.Add(n), up.header.GetSizeBytes()) }
	_, err := s.push(ctx, c, up)
	return err
}

// fetchTo has one host fetch one artifact.
func (s *session) fetchTo(ctx context.Context, host inventory.Host, d runner.Delivery, r remoteSource) error {
	_, err := s.fetch(ctx, newClient(d.Conn, host), r, d.Sent)
	return err
}

// fileOf is a file by its digest: one that the command named, or the copy that is kept
// of a program that was pushed from here before. Data is a file that travels with one.
func (s *session) fileOf(spec rollout.Spec, digest string, data bool) (*upload, error) {
	if up := s.stock.digest(digest, data); up != nil {
		return up, nil
	}
	var up *upload
	err := fs.ErrNotExist
	if !data {
		up, err = s.stock.recall(s.kept(), digest)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not on this machine: give the file, as in gracectl rollout resume %s ./%s-v2", digest, spec.ID(), spec.Service)
	}
	return up, err
}
