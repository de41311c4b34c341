package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// newer puts a revocation list in place of the one of its issuer; those of others
// stay. It returns nothing when that is in force already, and refuses an older one.
func (s *snapshot) newer(der []byte) (file []byte, err error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("the list of revoked certificates: %w", err)
	}
	if list.Number == nil {
		return nil, errors.New("the list of revoked certificates has no number")
	}
	if err := signed(list, s.issuers); err != nil {
		return nil, err
	}
	for _, old := range s.lists {
		if !sameIssuer(old, list) {
			file = append(file, encodeList(old)...)
			continue
		}
		if old.Number == nil {
			continue
		}
		switch old.Number.Cmp(list.Number) {
		case 0:
			return nil, nil
		case 1:
			return nil, fmt.Errorf("the list of revoked certificates has the number %s, older than %s which holds", list.Number, old.Number)
		}
	}
	if file = append(file, encodeList(list)...); len(file) > maxList {
		return nil, fmt.Errorf("the list of revoked certificates has %d bytes, at most %d are read", len(file), maxList)
	}
	return file, nil
}

// sameIssuer tells apart CAs of one name, too, by their keys.
func sameIssuer(a, b *x509.RevocationList) bool {
	return bytes.Equal(a.RawIssuer, b.RawIssuer) && bytes.Equal(a.AuthorityKeyId, b.AuthorityKeyId)
}

func encodeList(l *x509.RevocationList) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: l.Raw})
}
