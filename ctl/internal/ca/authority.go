package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"time"
)

// Files of a CA.
const (
	CertificateFile = "ca.pem"
	KeyFile         = "ca.key"
	CRLFile         = "crl.pem"
	JournalFile     = "issued.jsonl"
	TokensFile      = "tokens.jsonl" //nolint:gosec // G101: a name, no secret
)

// ErrNoCA says that a directory has no CA.
var ErrNoCA = errors.New("there is no CA")

func noCA(dir string) error {
	return fmt.Errorf("%w in %s: gracectl cert init makes one, --dir names another directory", ErrNoCA, dir)
}

// Authority is a CA as it is read. It has no key.
type Authority struct {
	dir         string
	cert        *x509.Certificate
	pem         []byte
	trustDomain string
	journal     []Entry
}

// Open reads the CA in a directory.
func Open(dir string) (*Authority, error) {
	a := &Authority{dir: dir}
	if err := a.readCertificate(); err != nil {
		return nil, err
	}
	return a, a.readJournal()
}

// Dir is the CA's directory.
func (a *Authority) Dir() string { return a.dir }

// Path is where one of the CA's files is.
func (a *Authority) Path(name string) string { return filepath.Join(a.dir, name) }

// Certificate is the CA's own.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// TrustDomain is what the CA issues identities of.
func (a *Authority) TrustDomain() string { return a.trustDomain }

// Entries are all certificates that were issued, in that order.
func (a *Authority) Entries() []Entry { return a.journal }

func (a *Authority) readCertificate() error {
	path := a.Path(CertificateFile)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return noCA(a.dir)
	}
	if err != nil {
		return err
	}
	cert, err := ParseCertificate(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	a.trustDomain, err = checkCA(cert)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	a.cert, a.pem = cert, encode(certificateBlock, cert.Raw)
	return nil
}

// checkCA finds the trust domain of a CA's certificate, which must be as we make it.
func checkCA(cert *x509.Certificate) (trustDomain string, err error) {
	const signs = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if !cert.IsCA || cert.KeyUsage&signs != signs {
		return "", errors.New("is not the certificate of a CA")
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return "", fmt.Errorf("is not signed by its own key: %w", err)
	}
	if len(cert.PermittedURIDomains) != 1 || len(cert.URIs) != 1 || cert.URIs[0].Host != cert.PermittedURIDomains[0] {
		return "", errors.New("was not made by gracectl cert init: it is not held to one trust domain")
	}
	return cert.PermittedURIDomains[0], CheckTrustDomain(cert.PermittedURIDomains[0])
}

func (a *Authority) readJournal() error {
	path := a.Path(JournalFile)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing, the journal of what was issued: bring it back from a backup; an empty file goes on without", path)
	}
	if err != nil {
		return err
	}
	if a.journal, err = parseJournal(data); err != nil {
		return fmt.Errorf("%s:%w", path, err)
	}
	return nil
}

// Issued says whether this CA signed a certificate.
func (a *Authority) Issued(cert *x509.Certificate) bool {
	return !cert.IsCA && string(cert.RawIssuer) == string(a.cert.RawSubject) && cert.CheckSignatureFrom(a.cert) == nil
}

// Revocation finds when and why a certificate was revoked: in the journal, and on
// the list, which outlives a journal that was lost.
func (a *Authority) Revocation(serial *big.Int) (at time.Time, reason string, err error) {
	text := FormatSerial(serial)
	for _, e := range a.journal {
		if e.Serial == text && !e.RevokedAt.IsZero() {
			return e.RevokedAt, e.Reason, nil
		}
	}
	list, err := a.readCRL()
	if err != nil || list == nil {
		return time.Time{}, "", err
	}
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(serial) == 0 {
			return e.RevocationTime, "", nil
		}
	}
	return time.Time{}, "", nil
}
