package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/metrics"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/simulated"
	"github.com/gracefleet/gracefleet/agent/internal/store"
)

// maxHosts is as many as an inventory may have.
const maxHosts = 10_000

// fleet is all hosts, and what they share.
type fleet struct {
	settings
	store    *store.Store
	audit    *audit.Log
	rollouts *simulated.Rollouts
	first    string // digest of the artifact that all hosts begin with
	hosts    []*host
}

// open prepares all hosts: their directory, certificates and listeners.
func open(s settings) (*fleet, error) {
	certificates := filepath.Join(s.dir, "certs")
	if err := os.MkdirAll(certificates, 0o700); err != nil {
		return nil, err
	}
	ca, err := newAuthority(certificates)
	if err == nil {
		err = ca.operator()
	}
	if err != nil {
		return nil, err
	}
	f := &fleet{settings: s, rollouts: simulated.NewRollouts()}
	if f.store, err = store.Open(filepath.Join(s.dir, "state"), store.Options{Reserve: -1}); err != nil {
		return nil, err
	}
	if f.audit, err = audit.Open(filepath.Join(s.dir, "audit"), audit.Options{}); err != nil {
		return nil, errors.Join(err, f.store.Close())
	}
	err = f.stock()
	if err == nil {
		err = f.settle(ca)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *fleet) close() {
	for _, h := range f.hosts {
		h.close()
	}
	if err := errors.Join(f.audit.Close(), f.store.Close()); err != nil {
		f.log.Error("the directory could not be closed", "error", err)
	}
}

// stock stores the artifact that all hosts begin with.
func (f *fleet) stock() error {
	program := []byte("#!/bin/sh\n# v1 of a program that is never run\n")
	f.first = fmt.Sprintf("sha256:%x", sha256.Sum256(program))
	options := store.UploadOptions{Name: "web", Labels: map[string]string{service.VersionLabel: "v1"}}
	u, committed, err := f.store.BeginUpload(f.first, int64(len(program)), options)
	if err != nil {
		return err
	}
	if _, err := u.Write(program[committed:]); err != nil {
		return errors.Join(err, u.Abort())
	}
	_, err = u.Commit()
	return err
}

// settle opens the hosts, and writes their inventory.
func (f *fleet) settle(ca authority) error {
	var text bytes.Buffer
	text.WriteString("hosts:\n")
	for i, address := 0, f.settings.first.Addr(); i < f.settings.hosts; i, address = i+1, address.Next() {
		h, err := f.host(ca, fmt.Sprintf("web-%05d", i+1), net.TCPAddr{IP: address.AsSlice(), Port: int(f.settings.first.Port())})
		if err != nil {
			return err
		}
		f.hosts = append(f.hosts, h)
		fmt.Fprintf(&text, "  - {name: %s, address: %q, labels: {role: web, zone: %c}}\n", h.name, h.listener.Addr(), 'a'+i%zones)
	}
	return os.WriteFile(f.inventory(), text.Bytes(), 0o600)
}

// zones have about as many hosts each.
const zones = 10

func (f *fleet) inventory() string { return filepath.Join(f.dir, "fleet.yaml") }

// serve has all hosts answer until ctx ends.
func (f *fleet) serve(ctx context.Context, figures net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	errs := make(chan error, len(f.hosts)+1)
	for _, h := range f.hosts {
		all.Go(func() { errs <- h.serve(ctx) })
	}
	if figures != nil {
		all.Go(func() { errs <- metrics.Serve(ctx, figures, f.figures) })
	}
	first := <-errs
	cancel() // a fleet that lacks one is not what was asked for
	all.Wait()
	return first
}

// begin has all hosts run their service, some at once.
func (f *fleet) begin(ctx context.Context) error {
	const atOnce = 64
	var all sync.WaitGroup
	places, errs := make(chan struct{}, atOnce), make(chan error, len(f.hosts))
	for _, h := range f.hosts {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if err := h.begin(ctx, f.first, f.soak); err != nil {
				errs <- fmt.Errorf("%s: %w", h.name, err)
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (f *fleet) figures() metrics.Figures {
	sum := metrics.Figures{Version: version, Connections: map[string]int{}}
	for _, h := range f.hosts {
		c := h.server.Counts()
		sum.Connections["network"] += c.Network
		sum.Refused += c.Refused
	}
	return sum
}
