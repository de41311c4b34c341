package join

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
	"github.com/gracefleet/gracefleet/internal/wholefile"
)

// Place is where a host keeps what its agent is known by.
type Place struct {
	Dir    string // of the files below
	Config string // the agent's configuration
}

// Certificate has the agent's certificate and its key, in one file: that is replaced
// at once, so that they never differ.
func (p Place) Certificate() string { return filepath.Join(p.Dir, "agent.pem") }

// CA has the certificate of the CA.
func (p Place) CA() string { return filepath.Join(p.Dir, ca.CertificateFile) }

// CRL has the revocation list.
func (p Place) CRL() string { return filepath.Join(p.Dir, ca.CRLFile) }

// pending has the key until there is a certificate for it: when an answer was lost,
// the same key gets it again.
func (p Place) pending() string { return filepath.Join(p.Dir, "joining.key") }

// vacant refuses a place where an agent has an identity already.
func (p Place) vacant() error {
	path := p.Certificate()
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if p.interrupted() {
		return nil
	}
	who := "something"
	if cert, err := ca.ReadLeaf(path); err == nil {
		who = fmt.Sprintf("the certificate of %v until %s", cert.URIs, cert.NotAfter.Format(time.DateOnly))
	}
	return fmt.Errorf("%s has %s already: --force replaces it", path, who)
}

// interrupted says whether the identity that is there is that of a join which was cut
// off at its end: it may be repeated, with the same token.
func (p Place) interrupted() bool {
	if _, err := os.Lstat(p.pending()); err != nil {
		return false
	}
	key, err := ca.ReadKey(p.pending())
	if err != nil {
		return false
	}
	cert, err := ca.ReadLeaf(p.Certificate())
	return err == nil && key.PublicKey.Equal(cert.PublicKey)
}

// Done forgets how the host came to what it has. It is for when all that follows from
// a join is done.
func (p Place) Done() error {
	err := os.Remove(p.pending())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// key is that of an attempt before whose answer was lost, or a new one.
func (p Place) key() (*ecdsa.PrivateKey, error) {
	path := p.pending()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		key, err := ca.ReadKey(path)
		if err != nil {
			return nil, fmt.Errorf("what is left of an earlier attempt: %w; remove it to begin anew", err)
		}
		return key, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	data, err := ca.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, wholefile.Replace(path, data, 0o600)
}

// fill writes what the host got, the certificate last: with it, it has joined. The
// key stays where an attempt that is repeated finds it, until Done.
func (p Place) fill(got *answer, key *ecdsa.PrivateKey, force bool) error {
	authority := encode("CERTIFICATE", got.ca.Raw)
	if was, err := os.ReadFile(p.CA()); err == nil && !bytes.Equal(was, authority) && !force {
		return fmt.Errorf("%s is of another CA: --force replaces it, with the same token", p.CA())
	}
	secret, err := ca.EncodeKey(key)
	if err != nil {
		return err
	}
	var b wholefile.Batch
	defer b.Discard()
	err = errors.Join(
		b.Add(p.CA(), authority, 0o644),
		b.Add(p.CRL(), encode("X509 CRL", got.list.Raw), 0o644),
		b.Add(p.Certificate(), append(encode("CERTIFICATE", got.cert.Raw), secret...), 0o600))
	if err != nil {
		return err
	}
	return b.Commit()
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
