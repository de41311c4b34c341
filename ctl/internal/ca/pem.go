package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxBytes is far beyond any file that belongs here: a list of a hundred
// thousand revoked certificates has five million bytes.
const maxBytes = 64 << 20

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
	crlBlock         = "X509 CRL"
)

// ReadCertificate reads a certificate's file.
func ReadCertificate(path string) (*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	cert, err := ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// ReadLeaf reads the first certificate of a file in which its key may follow, as in that
// of an agent that has joined.
func ReadLeaf(path string) (*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	cert, _, err := parseFirst(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// ParseCertificate reads a certificate as PEM: the first where others follow, as
// they do in a chain.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	cert, rest, err := parseFirst(data)
	if err != nil {
		return nil, err
	}
	for len(bytes.TrimSpace(rest)) > 0 {
		if _, rest, err = decode(rest, certificateBlock); err != nil {
			return nil, fmt.Errorf("after its first certificate: %w", err)
		}
	}
	return cert, nil
}

func parseFirst(data []byte) (cert *x509.Certificate, rest []byte, err error) {
	block, rest, err := decode(data, certificateBlock)
	if err != nil {
		return nil, nil, err
	}
	if cert, err = x509.ParseCertificate(block); err != nil {
		return nil, nil, fmt.Errorf("is a damaged certificate: %w", err)
	}
	return cert, rest, nil
}

// parseKey reads a private key as PKCS#8 in PEM.
func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, rest, err := decode(data, keyBlock)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("holds more than a key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("is a damaged key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("is a key of another kind than ECDSA P-256")
	}
	return key, nil
}

// parseCRL reads a revocation list as PEM.
func parseCRL(data []byte) (*x509.RevocationList, error) {
	block, rest, err := decode(data, crlBlock)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("holds more than a revocation list")
	}
	list, err := x509.ParseRevocationList(block)
	if err != nil {
		return nil, fmt.Errorf("is a damaged revocation list: %w", err)
	}
	return list, nil
}

// decode takes the first PEM block, which must be of one kind.
func decode(data []byte, kind string) (block, rest []byte, err error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil, errors.New("is empty")
	}
	b, rest := pem.Decode(data)
	if b == nil {
		return nil, nil, fmt.Errorf("is no PEM file: %q is expected", "-----BEGIN "+kind+"-----")
	}
	if b.Type != kind {
		return nil, nil, fmt.Errorf("holds a %s where a %s is expected", b.Type, kind)
	}
	return b.Bytes, rest, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// EncodeKey writes a private key as PKCS#8 in PEM.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encode(keyBlock, der), nil
}

// readFile reads a whole file, unless that is too large to be one of ours.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxBytes)
	}
	return data, nil
}
