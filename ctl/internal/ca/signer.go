package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gracefleet/gracefleet/internal/wholefile"
)

// Signer is a CA with its key, locked against other commands.
type Signer struct {
	*Authority
	key  *ecdsa.PrivateKey
	held *os.File
	now  func() time.Time
}

// Lock opens a CA for a change. It waits for other commands, until ctx ends.
func Lock(ctx context.Context, dir string) (*Signer, error) {
	// A lock file would be the first thing in a directory without a CA.
	if _, err := os.Stat(filepath.Join(dir, CertificateFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, noCA(dir)
	}
	if err := checkOwner(dir); err != nil {
		return nil, err
	}
	held, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	s, err := openSigner(dir)
	if err != nil {
		held.Close()
		return nil, err
	}
	s.held = held
	return s, nil
}

// Close lets others have the CA.
func (s *Signer) Close() { s.held.Close() }

func openSigner(dir string) (*Signer, error) {
	if err := checkPrivate(dir, "700"); err != nil {
		return nil, err
	}
	if err := wholefile.Sweep(dir); err != nil {
		return nil, err
	}
	a, err := Open(dir)
	if err != nil {
		return nil, err
	}
	key, err := ReadKey(a.Path(KeyFile))
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(a.cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s: bring back the one that is from a backup", a.Path(KeyFile), a.Path(CertificateFile))
	}
	return &Signer{Authority: a, key: key, now: time.Now}, nil
}

// ReadKey reads a private key that nobody else can read.
func ReadKey(path string) (*ecdsa.PrivateKey, error) {
	if err := checkPrivate(path, "600"); err != nil {
		return nil, err
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// checkOwner refuses another user's CA, root too, before anything is written there: its
// owner, such as the user whom gracectl cert serve runs as, could not read it, or may
// have put a link in its place.
func checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return nil
	}
	name := fmt.Sprintf("#%d", st.Uid)
	if u, err := user.LookupId(fmt.Sprint(st.Uid)); err == nil {
		name = u.Username
	}
	return fmt.Errorf("%s belongs to another user: sudo -u %s gracectl cert --dir %s", dir, name, dir)
}

// checkPrivate refuses what others than its owner may use: its secrets may be known.
func checkPrivate(path, mode string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if others := info.Mode().Perm() & 0o077; others != 0 {
		return fmt.Errorf("%s can be used by others (mode %04o): chmod %s %s, and think about who has read it", path, info.Mode().Perm(), mode, path)
	}
	return nil
}

// sign makes a certificate and holds it to what its readers will.
func (s *Signer) sign(template *x509.Certificate, key *ecdsa.PublicKey, now time.Time) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, key, s.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.cert)
	for _, usage := range cert.ExtKeyUsage {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return nil, fmt.Errorf("the certificate would not be accepted: %w", err)
		}
	}
	return cert, nil
}

// record puts the journal's new state on disk.
func (s *Signer) record(entries []Entry) error {
	data, err := formatLines(entries)
	if err != nil {
		return err
	}
	// What could not be read again must not be written.
	if _, err := parseJournal(data); err != nil {
		return fmt.Errorf("%s would be damaged: %w", JournalFile, err)
	}
	if err := wholefile.Replace(s.Path(JournalFile), data, 0o600); err != nil {
		return err
	}
	s.journal = entries
	return nil
}
