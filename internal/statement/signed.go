package statement

import (
	"bytes"
	"errors"
	"fmt"

	"aead.dev/minisign"
)

// MaxFile is how many bytes a signed statement may have: minisign takes comments of
// some thousands.
const MaxFile = 8 << 10

// signatureHead begins the signature, and no line of a statement.
const signatureHead = "untrusted comment: "

// Signed is a statement with a signature over it, which nobody has verified yet.
type Signed struct {
	Statement

	text, signature []byte
}

// ParseSigned reads a file that holds both.
func ParseSigned(file []byte) (Signed, error) {
	if len(file) > MaxFile {
		return Signed{}, &Refusal{"form", fmt.Sprintf("the signature file has %d bytes, of at most %d", len(file), MaxFile)}
	}
	at := bytes.Index(file, []byte("\n"+signatureHead))
	if at < 0 {
		return Signed{}, &Refusal{"form", "the file holds no statement with a minisign signature below it: gracectl sign writes such files"}
	}
	text, signature := file[:at+1], file[at+1:]
	stated, err := Parse(text)
	if err != nil {
		return Signed{}, err
	}
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return Signed{}, &Refusal{"form", err.Error()}
	}
	// One spelling, as of the statement: nothing may hide in the file.
	if again, err := s.MarshalText(); err != nil || !bytes.Equal(again, signature) {
		return Signed{}, &Refusal{"form", "the signature is not as minisign writes it"}
	}
	if id := FormatKey(s.KeyID); id != stated.Key {
		return Signed{}, &Refusal{"key", fmt.Sprintf("the statement names the key %s, and %s has signed it", stated.Key, id)}
	}
	return Signed{stated, text, signature}, nil
}

// Verify returns nil if the key has signed the statement. It takes both of
// minisign's forms, of which the one signs the text and the other its hash: no text
// is a statement and a hash.
func (s Signed) Verify(key minisign.PublicKey) error {
	if !minisign.Verify(key, s.text, s.signature) {
		return &Refusal{"signature", fmt.Sprintf("the key %s has not signed this: the statement was changed, or its signature is forged", s.Key)}
	}
	return nil
}

// File joins a statement with its signature, as cat does.
func (s Signed) File() []byte { return bytes.Join([][]byte{s.text, s.signature}, nil) }

// Sign signs a statement, whose Key becomes that of the key.
func Sign(s Statement, key minisign.PrivateKey) (Signed, error) {
	s.Key = FormatKey(key.ID())
	if err := s.Check(); err != nil {
		return Signed{}, err
	}
	text := s.Text()
	r := minisign.NewReader(bytes.NewReader(text))
	if _, err := new(bytes.Buffer).ReadFrom(r); err != nil { // it hashes what is read
		return Signed{}, fmt.Errorf("sign the statement: %w", err)
	}
	signature := r.SignWithComments(key, fmt.Sprintf("%s, release %d", s.Service, s.Release), "signature by gracectl")
	return ParseSigned(bytes.Join([][]byte{text, signature}, nil))
}

// ParseKey reads a public key: the second line of a file that minisign writes, or
// all of it.
func ParseKey(text string) (minisign.PublicKey, error) {
	var key minisign.PublicKey
	if len(text) > maxStated || key.UnmarshalText([]byte(text)) != nil {
		return key, errors.New("not a minisign public key: want the line RW... of a .pub file")
	}
	return key, nil
}
