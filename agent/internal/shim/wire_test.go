package shim

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"
)

// A sender whose context ends just when its message is out leaves the connection
// to the next one as it was.
func TestAnEndedContextHurtsNobodyElse(t *testing.T) {
	for survived := 0; survived < 2000; {
		ours := reader(t)
		for {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			if ours.send(ctx, message{Op: opState}, nil) != nil {
				break // cut in the middle: that ends the connection
			}
			if err := ours.send(t.Context(), message{Op: opState}, nil); err != nil {
				t.Fatalf("the next sender: %v", err)
			}
			survived++
		}
		ours.close()
	}
}

// reader is a connection to somebody who reads everything.
func reader(t *testing.T) *conn {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := newConn(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := newConn(pair[1])
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer theirs.close()
		for {
			if _, _, err := theirs.receive(); err != nil {
				return
			}
		}
	}()
	return ours
}
