package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/internal/wholefile"
)

// Create makes the CA of a trust domain in a directory that has none.
func Create(ctx context.Context, dir, trustDomain string) (*Authority, error) {
	return create(ctx, dir, trustDomain, time.Now())
}

func create(ctx context.Context, dir, trustDomain string, now time.Time) (*Authority, error) {
	if err := CheckTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(checkOwner(dir), checkVacant(dir)); err != nil {
		return nil, err
	}
	held, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	// Another may have been first.
	if err := checkVacant(dir); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	if err := fill(dir, trustDomain, now); err != nil {
		return nil, err
	}
	if err := wholefile.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	return Open(dir)
}

// checkVacant refuses a directory with a CA, with the remains of one that has
// issued something, or with other things. What a creation left that was cut off
// is no hindrance.
func checkVacant(dir string) error {
	if a, err := Open(dir); err == nil {
		return fmt.Errorf("%s has a CA already, of %s until %s: see gracectl cert list", dir, a.trustDomain, a.cert.NotAfter.Format(time.DateOnly))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name == lockName || strings.HasPrefix(name, wholefile.TempPrefix) {
			continue
		}
		if name == CertificateFile {
			return fmt.Errorf("%s has a CA already, but a damaged one: gracectl cert list says more", dir)
		}
		if !slices.Contains([]string{KeyFile, CRLFile, JournalFile, TokensFile}, name) {
			return fmt.Errorf("%s has other files, such as %s: name an empty directory", dir, name)
		}
		if info, err := e.Info(); name == JournalFile && (err != nil || info.Size() > 0) {
			return fmt.Errorf("%s has the journal of a CA whose %s is missing: bring that back from a backup", dir, CertificateFile)
		}
	}
	return nil
}

// fill writes a CA's files, the certificate last: with it the CA exists.
func fill(dir, trustDomain string, now time.Time) error {
	key, err := firstKey(dir)
	if err != nil {
		return err
	}
	template, err := caTemplate(trustDomain, &key.PublicKey, now)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	list, err := signCRL(nil, cert, key, nil, now)
	if err != nil {
		return err
	}
	var b wholefile.Batch
	defer b.Discard()
	err = errors.Join(
		b.Add(filepath.Join(dir, JournalFile), nil, 0o600),
		b.Add(filepath.Join(dir, CRLFile), list, 0o644),
		b.Add(filepath.Join(dir, CertificateFile), encode(certificateBlock, der), 0o644))
	if err != nil {
		return err
	}
	return b.Commit()
}

// firstKey makes the CA's key, or takes the one that is there: it may be all that
// is left of a CA, and with it what that CA has issued stays good.
func firstKey(dir string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, KeyFile)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return ReadKey(path)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	data, err := EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, wholefile.Replace(path, data, 0o600)
}
