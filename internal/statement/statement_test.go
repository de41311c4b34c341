package statement

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"pgregory.net/rapid"
)

var sample = Statement{
	Service: "web", Platform: "linux/amd64", Artifact: "sha256:" + strings.Repeat("0a", 32), Release: 42,
	Expires: time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC), Key: "00000000000000AB",
}

const sampleText = `gracefleet statement 1
service: web
platform: linux/amd64
artifact: sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
release: 42
expires: 2027-01-31T12:00:00Z
key: 00000000000000AB
`

func TestText(t *testing.T) {
	if got := string(sample.Text()); got != sampleText {
		t.Errorf("the text is\n%s", got)
	}
}

func newKey(t testing.TB) (minisign.PublicKey, minisign.PrivateKey) {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

// partOf is the part that an error finds fault with; "" for none.
func partOf(t testing.TB, err error) string {
	t.Helper()
	var r *Refusal
	if err != nil && !errors.As(err, &r) {
		t.Fatalf("%v says no part", err)
	}
	if err == nil {
		return ""
	}
	if r.Metadata()["part"] != r.Part || r.Error() == "" {
		t.Errorf("%#v tells nothing", r)
	}
	return r.Part
}

func TestParse(t *testing.T) {
	edit := func(from, to string) string { return strings.Replace(sampleText, from, to, 1) }
	for name, row := range map[string]struct{ text, part string }{
		"as it is":            {sampleText, ""},
		"nothing":             {"", "form"},
		"another version":     {edit("statement 1", "statement 2"), "form"},
		"a line missing":      {edit("release: 42\n", ""), "form"},
		"a line more":         {sampleText + "note: x\n", "form"},
		"an empty line":       {sampleText + "\n", "form"},
		"no end of line":      {strings.TrimSuffix(sampleText, "\n"), "form"},
		"lines swapped":       {edit("release: 42\nexpires: 2027-01-31T12:00:00Z", "expires: 2027-01-31T12:00:00Z\nrelease: 42"), "form"},
		"of Windows":          {strings.ReplaceAll(sampleText, "\n", "\r\n"), "form"},
		"indented":            {edit("release", " release"), "form"},
		"a space more":        {edit("release: 42", "release: 42 "), "release"},
		"no space":            {edit("release: 42", "release:42"), "form"},
		"too long":            {sampleText + strings.Repeat("x", maxStated), "form"},
		"no service":          {edit("web", ""), "service"},
		"a path":              {edit("service: web", "service: ../web"), "service"},
		"capitals":            {edit("web", "Web"), "service"},
		"a glob":              {edit("web", "*"), "service"},
		"any platform":        {edit("linux/amd64", "any"), "platform"},
		"half a platform":     {edit("linux/amd64", "linux/"), "platform"},
		"a path on the host":  {edit("sha256:", "host:/"), "artifact"},
		"digest in capitals":  {edit("sha256:0a", "sha256:0A"), "artifact"},
		"a short digest":      {edit("sha256:0a", "sha256:"), "artifact"},
		"release 0":           {edit("42", "0"), "release"},
		"a release below 0":   {edit("42", "-42"), "release"},
		"a leading zero":      {edit("42", "042"), "release"},
		"a sign":              {edit("42", "+42"), "release"},
		"too high a release":  {edit("42", "1000000000000000"), "release"},
		"the highest":         {edit("42", "999999999999999"), ""},
		"another zone":        {edit("00Z", "00+01:00"), "expires"},
		"no such day":         {edit("01-31", "02-30"), "form"},
		"parts of a second":   {edit("00Z", "00.5Z"), "expires"},
		"a key in lower case": {edit("AB", "ab"), "key"},
		"a short key":         {edit("0000AB", "AB"), "key"},
	} {
		s, err := Parse([]byte(row.text))
		if got := partOf(t, err); got != row.part {
			t.Errorf("%s: %v, want a fault in %q", name, err, row.part)
		}
		if err == nil && s.Check() != nil {
			t.Errorf("%s: is read and not fit to be signed: %v", name, s.Check())
		}
	}
}

func TestAllows(t *testing.T) {
	use := Use{Service: sample.Service, Platform: sample.Platform, Artifact: sample.Artifact, At: sample.Expires}
	for want, change := range map[string]func(*Use){
		"":         func(*Use) {},
		"service":  func(u *Use) { u.Service = "web-2" },
		"platform": func(u *Use) { u.Platform = "linux/arm64" },
		"artifact": func(u *Use) { u.Artifact = "sha256:" + strings.Repeat("0b", 32) },
		"expires":  func(u *Use) { u.At = u.At.Add(time.Second) },
	} {
		changed := use
		change(&changed)
		if got := partOf(t, sample.Allows(changed)); got != want {
			t.Errorf("it finds fault with %q, want %q", got, want)
		}
	}
}

func TestSignAndVerify(t *testing.T) {
	public, private := newKey(t)
	other, _ := newKey(t)
	signed, err := Sign(sample, private)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseSigned(signed.File())
	if err != nil {
		t.Fatal(err)
	}
	if again.Key != FormatKey(public.ID()) || again.Release != sample.Release {
		t.Errorf("it says %+v", again.Statement)
	}
	if err := again.Verify(public); err != nil {
		t.Error(err)
	}
	if got := partOf(t, again.Verify(other)); got != "signature" {
		t.Errorf("another key finds fault with %q", got)
	}
}

// Old releases of minisign sign the text itself.
func TestBothFormsOfMinisign(t *testing.T) {
	public, private := newKey(t)
	stated := sample
	stated.Key = FormatKey(public.ID())
	file := append(stated.Text(), minisign.Sign(private, stated.Text())...)
	signed, err := ParseSigned(file)
	if err == nil {
		err = signed.Verify(public)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeSigned(t *testing.T) {
	_, private := newKey(t)
	for part, change := range map[string]func(*Statement){
		"service":  func(s *Statement) { s.Service = "web\nplatform: x" },
		"platform": func(s *Statement) { s.Platform = "" },
		"artifact": func(s *Statement) { s.Artifact = "host:/bin/sh" },
		"release":  func(s *Statement) { s.Release = MaxRelease + 1 },
		"expires":  func(s *Statement) { s.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		s := sample
		change(&s)
		if _, err := Sign(s, private); partOf(t, err) != part {
			t.Errorf("%s: %v", part, err)
		}
	}
}

// No byte of a signed file can be changed, left out or added but in the comment that
// minisign calls untrusted.
func TestNothingCanBeChanged(t *testing.T) {
	public, private := newKey(t)
	signed, err := Sign(sample, private)
	if err != nil {
		t.Fatal(err)
	}
	file := string(signed.File())
	from := strings.Index(file, signatureHead) + len(signatureHead)
	until := from + strings.Index(file[from:], "\n")
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(0, len(file)).Draw(t, "at")
		cut := rapid.IntRange(0, min(2, len(file)-at)).Draw(t, "cut")
		put := rapid.StringN(0, 2, 8).Draw(t, "put")
		changed := file[:at] + put + file[at+cut:]
		if changed == file || (at >= from && at+cut <= until) {
			return
		}
		s, err := ParseSigned([]byte(changed))
		if err == nil && s.Verify(public) == nil {
			t.Errorf("%q is taken", changed)
		}
	})
}

func TestParseSigned(t *testing.T) {
	_, private := newKey(t)
	signed, err := Sign(sample, private)
	if err != nil {
		t.Fatal(err)
	}
	file := string(signed.File())
	stated := strings.Replace(string(signed.text), signed.Key, sample.Key, 1)
	signature := string(signed.signature)
	for name, row := range map[string]struct{ file, part string }{
		"nothing":              {"", "form"},
		"the statement alone":  {string(signed.text), "form"},
		"the signature alone":  {signature, "form"},
		"another's statement":  {stated + signature, "key"},
		"two signatures":       {file + signature, "form"},
		"a line below":         {file + "\n", "form"},
		"half a signature":     {file[:len(file)-20], "form"},
		"no base64":            {strings.Replace(file, "RU", "R!", 1), "form"},
		"large":                {strings.Replace(file, "by gracectl", strings.Repeat("x", MaxFile), 1), "form"},
		"with a long comment":  {strings.Replace(file, "by gracectl", strings.Repeat("x", MaxFile-len(file)), 1), ""},
		"another algorithm":    {strings.Replace(file, "\nRU", "\nRV", 1), "form"},
		"the lines of Windows": {strings.ReplaceAll(file, "\n", "\r\n"), "form"},
	} {
		if _, err := ParseSigned([]byte(row.file)); partOf(t, err) != row.part {
			t.Errorf("%s: %v, want a fault in %q", name, err, row.part)
		}
	}
}

func TestParseKey(t *testing.T) {
	public, _ := newKey(t)
	file, err := public.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{public.String(), string(file), public.String() + "\n", string(file) + "\n"} {
		if got, err := ParseKey(text); err != nil || !got.Equal(public) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "RWQ", public.String()[:40], strings.Repeat("A", 4096), "/etc/release.pub", "XX" + public.String()[2:]} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%q is taken for a key", text)
		}
	}
}

// Whatever is taken has one spelling, and comes back from what it means.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sampleText))
	f.Add([]byte(strings.Replace(sampleText, "42", "042", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			partOf(t, err)
			return
		}
		if string(s.Text()) != string(text) || s.Check() != nil {
			t.Errorf("%q is read as %+v: %v", text, s, s.Check())
		}
	})
}

// A file is read whole or not at all, and no key has signed what it has not.
func FuzzParseSigned(f *testing.F) {
	public, private := newKey(f)
	signed, err := Sign(sample, private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed.File())
	f.Add([]byte(sampleText))
	f.Add([]byte(sampleText + "untrusted comment: x\nRUQ=\ntrusted comment: y\nAA==\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := ParseSigned(file)
		if err != nil {
			partOf(t, err)
			return
		}
		if string(s.File()) != string(file) {
			t.Errorf("%q is read as %q", file, s.File())
		}
		if s.Verify(public) == nil && s.Statement != signed.Statement {
			t.Errorf("forged: %q", file)
		}
	})
}
