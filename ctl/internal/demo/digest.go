package demo

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
)

func digestOf(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), size, err
}
