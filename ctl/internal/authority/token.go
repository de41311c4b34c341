package authority

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

// Token is what a host needs to join: where the CA answers, what it is known by, and
// a secret that counts once.
type Token struct {
	Addresses []string // HOST:PORT, tried in that order
	Pin       [32]byte // SHA-256 of the CA's public key
	Secret    [ca.SecretSize]byte
}

const (
	tokenForm      = "gj1"
	maxAddresses   = 8
	maxAddressText = 300 // a name of 253 characters and a port
	// MaxToken is the length of the longest token.
	MaxToken = len(tokenForm) + 3 + maxAddresses*(maxAddressText+1) + 2*43
)

// String is the token as it is handed over. It has the secret in it.
func (t Token) String() string {
	return strings.Join([]string{tokenForm, strings.Join(t.Addresses, ","), encode(t.Pin), encode(t.Secret)}, "/")
}

// ParseToken reads a token. An error never has any of it: a slip may hold the secret.
func ParseToken(text string) (t Token, err error) {
	parts := strings.Split(text, "/")
	if len(text) > MaxToken || len(parts) != 4 || parts[0] != tokenForm {
		return t, fmt.Errorf("this is no join token: %s/HOST:PORT/.../... is expected, whole, as gracectl cert token prints it", tokenForm)
	}
	for i, to := range []*[32]byte{&t.Pin, &t.Secret} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(parts[2+i])
		copy(to[:], b)
		// The decoder passes over ends of lines.
		if err != nil || encode(*to) != parts[2+i] {
			return Token{}, errors.New("the join token is damaged or cut off: copy it whole")
		}
	}
	if t.Addresses = strings.Split(parts[1], ","); len(t.Addresses) > maxAddresses {
		return Token{}, fmt.Errorf("the join token has more than %d addresses", maxAddresses)
	}
	for _, address := range t.Addresses {
		if err := CheckAddress(address); err != nil {
			return Token{}, err
		}
	}
	return t, nil
}

// CheckAddress says what is wrong with where the CA is to be called.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || len(address) > maxAddressText {
		return fmt.Errorf("address %q of the CA: want HOST:PORT, such as ca.example.org:7444", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q of the CA: %q is no port", address, port)
	}
	if hosts, err := ca.ParseHosts([]string{host}); err != nil || hosts[0] != host {
		return fmt.Errorf("address %q of the CA: %q is no host's name or address", address, host)
	}
	return nil
}

func encode(b [32]byte) string { return base64.RawURLEncoding.EncodeToString(b[:]) }
