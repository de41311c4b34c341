package signer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"aead.dev/minisign"

	"github.com/gracefleet/gracefleet/internal/statement"
)

const (
	// KeyEnding is that of a secret key's file.
	KeyEnding = ".key"
	// PublicEnding is that of the public key beside it.
	PublicEnding = ".pub"

	maxKeyFile = 4 << 10 // bytes
)

// Generate makes a key and writes NAME.key, encrypted with a password, and NAME.pub,
// in minisign's format. Files that are there already are left alone. Encrypting takes
// seconds and a gigabyte of memory, as guessing the password then does.
func Generate(name, password string) (minisign.PublicKey, error) {
	if err := free(name+KeyEnding, name+PublicEnding); err != nil {
		return minisign.PublicKey{}, err
	}
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return public, fmt.Errorf("make a key: %w", err)
	}
	secret, err := minisign.EncryptKey(password, private)
	if err != nil {
		return public, fmt.Errorf("encrypt the key: %w", err)
	}
	text, err := public.MarshalText()
	if err != nil {
		return public, err
	}
	if err := create(name+KeyEnding, append(secret, '\n'), 0o600); err != nil {
		return public, err
	}
	if err := create(name+PublicEnding, append(text, '\n'), 0o644); err != nil {
		return public, errors.Join(err, os.Remove(name+KeyEnding))
	}
	return public, nil
}

// free says whether nothing is lost when files are made.
func free(paths ...string) error {
	for _, path := range paths {
		_, err := os.Lstat(path)
		if err == nil {
			return fmt.Errorf("%s is there already: choose another name, for whoever loses a key cannot sign with it", path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// create makes a file that is not there yet.
func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// ReadKey reads a secret key of gracectl or minisign. The password is asked for if
// the key is encrypted.
func ReadKey(path string, password func() (string, error)) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	text, err := read(path)
	if err != nil {
		return key, err
	}
	text = []byte(strings.TrimRight(string(text), "\r\n"))
	if !minisign.IsEncrypted(text) {
		if key.UnmarshalText(text) != nil {
			return key, fmt.Errorf("%s is not a secret key: want one that gracectl sign keygen or minisign -G has made", path)
		}
		return key, nil
	}
	given, err := password()
	if err != nil {
		return key, err
	}
	if key, err = minisign.DecryptKey(given, text); err != nil {
		return key, fmt.Errorf("%s: the password is wrong, or the file is damaged", path)
	}
	return key, nil
}

// ReadPublicKey reads a public key: the line RW... itself, or the .pub file of that
// name.
func ReadPublicKey(text string) (minisign.PublicKey, error) {
	if key, err := statement.ParseKey(text); err == nil {
		return key, nil
	}
	file, err := read(text)
	if err != nil {
		return minisign.PublicKey{}, err
	}
	key, err := statement.ParseKey(string(file))
	if err != nil {
		return key, fmt.Errorf("%s: %w", text, err)
	}
	return key, nil
}

// ReadPassword is the first line of a file.
func ReadPassword(path string) (string, error) {
	text, err := read(path)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("password file %s: its first line is empty", path)
	}
	return line, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxKeyFile)
	}
	return text, err
}
