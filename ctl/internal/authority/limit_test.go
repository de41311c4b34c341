package authority

import (
	"fmt"
	"net"
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	now := time.Now()
	q := newQuota(2, time.Minute)
	q.now = func() time.Time { return now }
	for i := range 3 {
		if q.spent("a") != (i > 1) {
			t.Errorf("after %d of 2: spent %v", i, q.spent("a"))
		}
		q.add("a")
	}
	if q.spent("b") {
		t.Error("another has spent it")
	}
	now = now.Add(time.Minute)
	if q.spent("a") {
		t.Error("a minute later it is still spent")
	}
	for i := range 2 * maxCounted {
		q.add(fmt.Sprint(i))
	}
	if len(q.count) > maxCounted {
		t.Errorf("%d are counted", len(q.count))
	}
}

// One host cannot have all connections.
func TestListenerLimits(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newListener(raw)
	defer l.Close()
	accepted := make(chan net.Conn, maxPerHost+1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var first net.Conn
	for range maxPerHost {
		dial()
		first = <-accepted
	}
	over := dial()
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Error("one more was let in")
	}
	first.Close()
	first.Close() // counts once
	dial()
	<-accepted
	if l.all != maxPerHost {
		t.Errorf("%d are counted", l.all)
	}
	l.Close()
	<-ended
}
