package ca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gracefleet/gracefleet/internal/wholefile"
)

// Output is where a certificate goes.
type Output struct {
	Certificate string
	Key         string
	CA          string // "" leaves the CA's certificate out
	// Overwrite what Conflicts found.
	Overwrite bool

	renewed *x509.Certificate
}

// OutputIn is NAME.pem, NAME.key and ca.pem in a directory.
func OutputIn(dir, name string) Output {
	return Output{
		Certificate: filepath.Join(dir, name+".pem"),
		Key:         filepath.Join(dir, name+".key"),
		CA:          filepath.Join(dir, CertificateFile),
	}
}

// OutputOver is a certificate's own file and the key beside it.
func OutputOver(path string, cert *x509.Certificate) (Output, error) {
	// The file is replaced, not a link to it.
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Output{}, err
	}
	key := strings.TrimSuffix(path, filepath.Ext(path)) + ".key"
	if linked, err := filepath.EvalSymlinks(key); err == nil {
		key = linked
	}
	if key == file || filepath.Base(key) == ".key" {
		return Output{}, fmt.Errorf("%s: the key would be written to %s: rename the certificate to NAME.pem", path, key)
	}
	return Output{Certificate: file, Key: key, renewed: cert}, nil
}

// Conflicts are the files that stand in the way of an output. A certificate that
// is renewed does not, nor does its key.
func (a *Authority) Conflicts(out Output) ([]string, error) {
	if err := a.checkOutside(out); err != nil {
		return nil, err
	}
	var found []string
	for _, path := range []string{out.Certificate, out.Key, out.CA} {
		conflict, err := a.conflict(out, path)
		if err != nil {
			return nil, err
		}
		if conflict {
			found = append(found, path)
		}
	}
	return found, nil
}

func (a *Authority) conflict(out Output, path string) (bool, error) {
	if path == "" || path == out.Certificate && out.renewed != nil {
		return false, nil
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		return false, fmt.Errorf("%s is a directory", path)
	}
	if path != out.CA && out.renewed == nil {
		return true, nil
	}
	data, err := readFile(path)
	if err != nil {
		return false, err
	}
	if path == out.CA {
		return !bytes.Equal(data, a.pem), nil
	}
	key, err := parseKey(data)
	return err != nil || !key.PublicKey.Equal(out.renewed.PublicKey), nil
}

// checkOutside keeps the CA's own files from being written over.
func (a *Authority) checkOutside(out Output) error {
	home, err := os.Stat(a.dir)
	if err != nil {
		return err
	}
	dir := filepath.Dir(out.Certificate)
	if info, err := os.Stat(dir); err == nil && os.SameFile(home, info) {
		return fmt.Errorf("%s is the CA's own directory: certificates belong elsewhere, name it with --out", dir)
	}
	return nil
}

// stage writes an output's files under temporary names. The key comes first: a
// certificate without one is of no use.
func (a *Authority) stage(b *wholefile.Batch, out Output, cert *x509.Certificate, key []byte) error {
	if err := os.MkdirAll(filepath.Dir(out.Certificate), 0o700); err != nil {
		return err
	}
	if err := b.Add(out.Key, key, 0o600); err != nil {
		return err
	}
	if err := b.Add(out.Certificate, encode(certificateBlock, cert.Raw), 0o644); err != nil {
		return err
	}
	if out.CA == "" {
		return nil
	}
	return b.Add(out.CA, a.pem, 0o644)
}
