package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// Files name what an agent needs for mutual TLS. Revoked may be empty.
type Files struct {
	Cert    string `yaml:"cert"`    // the agent's chain, PEM
	Key     string `yaml:"key"`     // its key, PEM
	CA      string `yaml:"ca"`      // who issues certificates of clients, PEM
	Revoked string `yaml:"revoked"` // revocation lists of those, PEM or DER
}

// Complete says whether everything that is required is named.
func (f Files) Complete() error {
	for _, required := range []struct{ flag, file string }{{"--tls-cert", f.Cert}, {"--tls-key", f.Key}, {"--tls-ca", f.CA}} {
		if required.file == "" {
			return fmt.Errorf("%s is missing: an agent on the network needs --tls-cert, --tls-key and --tls-ca (gracectl cert makes them)", required.flag)
		}
	}
	return nil
}

// snapshot is what the files said at one time. It is not changed.
type snapshot struct {
	own     tls.Certificate
	roots   *x509.CertPool
	issuers []*x509.Certificate  // what roots holds
	revoked map[string]time.Time // by issuer and serial number
	lists   []*x509.RevocationList
}

const (
	maxFile = 1 << 20
	maxList = 32 << 20 // a hundred thousand revoked certificates have seven million bytes
)

func (f Files) read() (*snapshot, error) {
	s := &snapshot{roots: x509.NewCertPool(), revoked: map[string]time.Time{}}
	cert, err := readSmall(f.Cert)
	if err != nil {
		return nil, err
	}
	key := cert // in one file they never differ
	if f.Key != f.Cert {
		if key, err = readSmall(f.Key); err != nil {
			return nil, err
		}
	}
	if s.own, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	if s.issuers, err = readCertificates(f.CA); err != nil {
		return nil, err
	}
	for _, root := range s.issuers {
		s.roots.AddCert(root)
	}
	if f.Revoked == "" {
		return s, nil
	}
	return s, s.readRevoked(f.Revoked)
}

func readSmall(path string) ([]byte, error) { return readAtMost(path, maxFile) }

func readAtMost(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if !c.IsCA {
			return nil, fmt.Errorf("%s holds a certificate of %s, which may not issue others", path, c.Subject)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return out, nil
}

// readRevoked reads revocation lists. One that no root has signed is an error: it
// would be believed in vain. So is none: a file that is being copied is empty first,
// and for that long nothing would be revoked.
func (s *snapshot) readRevoked(path string) error {
	data, err := readAtMost(path, maxList)
	if err != nil {
		return err
	}
	if s.lists, err = parseLists(data); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, list := range s.lists {
		if err := signed(list, s.issuers); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, entry := range list.RevokedCertificateEntries {
			s.revoked[serial(list.RawIssuer, entry.SerialNumber.Bytes())] = entry.RevocationTime
		}
	}
	return nil
}

// parseLists reads revocation lists, PEM or DER.
func parseLists(data []byte) (lists []*x509.RevocationList, err error) {
	rest := bytes.TrimSpace(data)
	if len(rest) == 0 {
		return nil, errors.New("it holds no list of revoked certificates")
	}
	for len(rest) > 0 {
		der := rest
		block, after := pem.Decode(rest)
		if rest = nil; block != nil {
			der, rest = block.Bytes, bytes.TrimSpace(after)
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return lists, nil
}

func signed(list *x509.RevocationList, roots []*x509.Certificate) error {
	var errs []error
	for _, root := range roots {
		err := list.CheckSignatureFrom(root)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("the list of revoked certificates is signed by none of the roots: %w", errors.Join(errs...))
}

func serial(issuer, number []byte) string { return string(issuer) + "\x00" + string(number) }
