package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// lookEvery is how often the files are looked at: a change of a link, as secrets
// are mounted in containers, is no event of the file.
const lookEvery = time.Second

// Keeper has the certificates that hold now. It is safe for concurrent use.
type Keeper struct {
	files Files
	log   hclog.Logger
	now   atomic.Pointer[snapshot]

	stamps []stamp // of what was read last; Run's
}

// stamp tells one state of a file from another.
type stamp struct {
	device, inode uint64
	size          int64
	changed       time.Time
}

// Open reads the files. Everything in them must be right, this once.
func Open(files Files, log hclog.Logger) (*Keeper, error) {
	if err := files.Complete(); err != nil {
		return nil, err
	}
	k := &Keeper{files: files, log: log, stamps: files.stamps()}
	s, err := files.read()
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	k.now.Store(s)
	return k, nil
}

// Run reads the files anew when they change, until ctx ends. After each change it
// calls changed: what was trusted before may no longer be. One call at a time.
func (k *Keeper) Run(ctx context.Context, changed func()) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if k.reload() {
				changed()
			}
		case <-ctx.Done():
			return
		}
	}
}

// reload says whether something else holds now. Files that are being written are
// read at the next look.
func (k *Keeper) reload() bool {
	is := k.files.stamps()
	if slices.Equal(is, k.stamps) {
		return false
	}
	k.stamps = is
	s, err := k.files.read()
	if err != nil {
		k.log.Error("changed certificates cannot be used: those of before stay in force", "error", err)
		return false
	}
	k.now.Store(s)
	k.log.Info("certificates were read anew", "expires", s.own.Leaf.NotAfter, "revoked", len(s.revoked))
	return true
}

func (f Files) stamps() []stamp {
	var out []stamp
	for _, path := range []string{f.Cert, f.Key, f.CA, f.Revoked} {
		var s stamp
		if info, err := os.Stat(path); err == nil {
			s = stampOf(info)
		}
		out = append(out, s)
	}
	return out
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), changed: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = st.Dev, st.Ino
	}
	return s
}

// Leaf is the agent's own certificate.
func (k *Keeper) Leaf() *x509.Certificate { return k.now.Load().own.Leaf }

// Config is for servers. Each handshake uses what holds then. A session is never
// resumed: that would skip a look at what was revoked since.
func (k *Keeper) Config() *tls.Config {
	always := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, SessionTicketsDisabled: true,
		ClientAuth:       tls.RequireAndVerifyClientCert,
		VerifyConnection: func(state tls.ConnectionState) error { return k.Verify(state.PeerCertificates) },
	}
	first := always.Clone()
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s, now := k.now.Load(), always.Clone()
		now.Certificates, now.ClientCAs = []tls.Certificate{s.own}, s.roots
		return now, nil
	}
	return first
}

// Toward is for a connection to another agent, which proves its identity, whatever its
// address is, as this one does. Both have to count now.
func (k *Keeper) Toward(agent identity.ID, protocol string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, SessionTicketsDisabled: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &k.now.Load().own, nil },
		// An address is no identity: VerifyConnection has all that is verified.
		InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
		VerifyConnection:   func(state tls.ConnectionState) error { return k.verifyAgent(state, agent, protocol) },
	}
}
