//go:build linux

package e2e

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// listenInBetween takes connections with a certificate, and counts what is said to it
// after the handshake.
func listenInBetween(t *testing.T, own tls.Certificate, root []byte) (address string, heard func() int64) {
	t.Helper()
	block, _ := pem.Decode(root)
	own.Certificate = append(own.Certificate, block.Bytes)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		total int64
		conns sync.WaitGroup
	)
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				_ = c.SetReadDeadline(time.Now().Add(awaitLimit))
				n, _ := io.Copy(io.Discard, c)
				mu.Lock()
				defer mu.Unlock()
				total += n
			})
		}
	})
	var once sync.Once
	end := func() { once.Do(func() { l.Close(); conns.Wait() }) }
	t.Cleanup(end)
	return l.Addr().(*net.TCPAddr).String(), func() int64 {
		end()
		mu.Lock()
		defer mu.Unlock()
		return total
	}
}
