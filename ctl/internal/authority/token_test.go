package authority

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTokenText(t *testing.T) {
	hosts := rapid.OneOf(rapid.StringMatching(`[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,10}){0,3}`), rapid.Just("10.0.0.2"), rapid.Just("[fd00::2]"))
	rapid.Check(t, func(t *rapid.T) {
		var want Token
		for range rapid.IntRange(1, maxAddresses).Draw(t, "n") {
			want.Addresses = append(want.Addresses, fmt.Sprintf("%s:%d", hosts.Draw(t, "host"), rapid.Uint16Min(1).Draw(t, "port")))
		}
		copy(want.Pin[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "pin"))
		copy(want.Secret[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"))
		got, err := ParseToken(want.String())
		if err != nil || got.Pin != want.Pin || got.Secret != want.Secret || !slices.Equal(got.Addresses, want.Addresses) {
			t.Fatalf("%+v became %+v, %v", want, got, err)
		}
	})
}

func TestBadTokens(t *testing.T) {
	some := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	good := "gj1/ca.example.org:7444/" + some + "/" + some
	if _, err := ParseToken(good); err != nil {
		t.Fatal(err)
	}
	for text, words := range map[string]string{
		"":                                     "no join token",
		"TOKEN":                                "no join token",
		strings.Replace(good, "gj1", "gj2", 1): "no join token",
		good + "/":                             "no join token",
		good[:len(good)-1]:                     "cut off",
		good + "A":                             "cut off",
		good[:len(good)-1] + "B":               "cut off", // bits that mean nothing
		strings.Replace(good, "ca.example.org:7444", "", 1):                "want HOST:PORT",
		strings.Replace(good, ":7444", "", 1):                              "want HOST:PORT",
		strings.Replace(good, ":7444", ":0", 1):                            "is no port",
		strings.Replace(good, ":7444", ":https", 1):                        "is no port",
		strings.Replace(good, "ca.", "CA.", 1):                             "no host's name",
		strings.Replace(good, "ca.example.org", "*", 1):                    "no host's name",
		strings.Replace(good, "ca.example.org", "", 1):                     "no host's name",
		strings.Replace(good, "7444", "7444,", 1):                          "want HOST:PORT",
		strings.Replace(good, "7444", "7444"+strings.Repeat(",a:1", 8), 1): "more than 8 addresses",
		strings.Repeat("x", MaxToken+1):                                    "no join token",
	} {
		if _, err := ParseToken(text); err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), some) {
			t.Errorf("%q: %v, want %q", text, err, words)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	some := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	f.Add("gj1/ca.example.org:7444,[fd00::2]:1/" + some + "/" + some)
	f.Add("gj1///")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err == nil && token.String() != text {
			t.Errorf("%q is another spelling of %q", text, token)
		}
	})
}
