package origin

import (
	"net"
	"testing"
)

func TestOf(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.7:1234":           "10.0.0.7",
		"[::ffff:10.0.0.7]:99":    "10.0.0.7",
		"[2001:db8:1:2:3::4]:443": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:443":      "fe80::/64",
	} {
		at, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := Of(at); got != want {
			t.Errorf("%s is from %s, want %s", address, got, want)
		}
	}
	if got := Of(&net.UnixAddr{Name: "x"}); got != "x" {
		t.Errorf("what is no address is from %s", got)
	}
}
