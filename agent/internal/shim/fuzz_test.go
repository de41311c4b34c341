package shim

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseNotification(t *testing.T) {
	n := parseNotification([]byte("READY=1\nSTATUS=a=b\nMAINPID=1\nX_GRACEFLEET_IN_FLIGHT=3\nSTOPPING=0\nnonsense"))
	if !n.ready || n.stopping || n.status != "a=b" || !n.hasStatus || len(n.extra) != 1 || n.extra[0] != "X_GRACEFLEET_IN_FLIGHT=3" {
		t.Errorf("got %+v", n)
	}
}

func FuzzParseNotification(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=ok"))
	f.Add([]byte("X_GRACEFLEET_A=1\nX_GRACEFLEET_=\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := parseNotification(b)
		if n.ready && !strings.Contains(string(b), "READY=1") {
			t.Errorf("ready from %q", b)
		}
		// An invalid byte becomes a rune of three.
		if !utf8.ValidString(n.status) || len(n.status) > 3*maxText || len(n.extra) > maxExtra {
			t.Errorf("unfit to keep: %+v", n)
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte("\x00{\"id\":1,\"op\":\"state\"}"), []byte(nil))
	f.Add([]byte("\x01{\"id\":1,"), []byte("\x00\"op\":\"start\",\"body\":{}}"))
	f.Add([]byte("\x02"), []byte("\x00"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var a assembly
		for _, packet := range [][]byte{first, second} {
			if err := a.add(packet); err != nil {
				return
			}
			if a.complete {
				break
			}
		}
		m, err := a.message()
		if err != nil {
			return
		}
		// What decodes must not upset a shim that holds nothing.
		if m.Op == opState || m.Op == opListeners || m.Op == opSignal || m.Op == opRelisten {
			(&server{}).handle(m, nil)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add("1 (a) b) S 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22")
	f.Fuzz(func(t *testing.T, s string) {
		if _, ok := parseStat(s); ok && !strings.Contains(s, ")") {
			t.Errorf("parsed %q", s)
		}
	})
}
