package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Where the environment says who asks.
const (
	envCA           = "GRACECTL_ETCD_CA"
	envCert         = "GRACECTL_ETCD_CERT"
	envKey          = "GRACECTL_ETCD_KEY"
	envUser         = "GRACECTL_ETCD_USER"
	envPasswordFile = "GRACECTL_ETCD_PASSWORD_FILE" //nolint:gosec // G101: a variable's name
)

// Access is who asks an etcd, and what proves its members. The zero value is for one
// that asks nobody, on loopback.
type Access struct {
	// CAFile holds the certificates of those who issue the members', PEM.
	CAFile string
	// CertFile and KeyFile are the client's, PEM; both are empty, or none.
	CertFile, KeyFile string
	// User and the file with the password on its first line; both are empty, or none.
	User, PasswordFile string
}

// AccessFrom is what the environment says.
func AccessFrom(getenv func(string) string) Access {
	return Access{CAFile: getenv(envCA), CertFile: getenv(envCert), KeyFile: getenv(envKey), User: getenv(envUser), PasswordFile: getenv(envPasswordFile)}
}

// config is nil without TLS.
func (a Access) config(p Place) (*tls.Config, error) {
	switch {
	case !p.TLS && (a.CAFile != "" || a.CertFile != ""):
		return nil, fmt.Errorf("%s and %s are for etcds://", envCA, envCert)
	case !p.TLS:
		return nil, nil
	case a.CAFile == "":
		return nil, fmt.Errorf("%s is missing: the file with the certificates of those who issue etcd's; a context has it as etcd_ca", envCA)
	case (a.CertFile == "") != (a.KeyFile == ""):
		return nil, fmt.Errorf("%s and %s: one is missing", envCert, envKey)
	}
	pem, err := readFile(a.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envCA, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", envCA, a.CAFile)
	}
	if a.CertFile == "" {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%s %s with %s %s: %w", envCert, a.CertFile, envKey, a.KeyFile, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// password is empty without a user.
func (a Access) password() (string, error) {
	switch {
	case a.User == "" && a.PasswordFile == "":
		return "", nil
	case a.User == "" || a.PasswordFile == "":
		return "", fmt.Errorf("%s and %s: one is missing", envUser, envPasswordFile)
	}
	text, err := readFile(a.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("%s: %w", envPasswordFile, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s: the first line of %s is empty", envPasswordFile, a.PasswordFile)
	}
	return line, nil
}

func readFile(path string) ([]byte, error) {
	const limit = 1 << 20
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(text) > limit {
		err = errors.New(path + " has more than a mebibyte")
	}
	return text, err
}
