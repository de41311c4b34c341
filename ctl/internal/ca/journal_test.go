package ca

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	line1 = `{"serial":"0123456789abcdef0123456789abcdef","role":"agent","name":"web-1","hosts":["web-1","10.0.0.5"],"not_before":"2026-05-01T11:55:00Z","not_after":"2026-07-30T12:00:00Z"}` + "\n"
	line2 = `{"serial":"ff23456789abcdef0123456789abcdef","role":"operator","name":"alice","not_before":"2026-05-01T11:55:00Z","not_after":"2026-07-30T12:00:00Z","revoked_at":"2026-05-02T12:00:00Z","reason":"left <us>"}` + "\n"
)

func TestJournal(t *testing.T) {
	entries, err := parseJournal([]byte(line1 + line2))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 5, 1, 11, 55, 0, 0, time.UTC)
	end := time.Date(2026, 7, 30, 12, 0, 0, 0, time.UTC)
	want := []Entry{
		{Serial: "0123456789abcdef0123456789abcdef", Role: "agent", Name: "web-1", Hosts: []string{"web-1", "10.0.0.5"}, NotBefore: start, NotAfter: end},
		{Serial: "ff23456789abcdef0123456789abcdef", Role: "operator", Name: "alice", NotBefore: start, NotAfter: end, RevokedAt: start.Add(24*time.Hour + skew), Reason: "left <us>"},
	}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Error(diff)
	}
	if text, err := formatLines(entries); err != nil || string(text) != line1+line2 {
		t.Errorf("%s, %v", text, err)
	}
	for at, want := range map[time.Time]State{start: Valid, end: Valid, start.Add(-time.Second): Early, end.Add(time.Second): Expired} {
		if got := entries[0].State(at); got != want {
			t.Errorf("at %v: %s", at, got)
		}
		if got := entries[1].State(at); got != Revoked {
			t.Errorf("at %v: %s", at, got)
		}
	}
}

func TestDamagedJournals(t *testing.T) {
	change := func(from, to string) string { return line2 + strings.Replace(line1, from, to, 1) }
	for text, want := range map[string]string{
		strings.TrimSuffix(line1, "\n"):                         "1: the last line is cut off",
		line1 + line2[:50]:                                      "2: the last line is cut off",
		line1 + "\n":                                            "2: the line is empty",
		line1 + "nonsense\n":                                    "2: ",
		line1 + line1:                                           "2: serial 0123456789abcdef0123456789abcdef stands in line 1 already",
		line1 + "[]\n":                                          "2: ",
		strings.TrimSuffix(line1, "\n") + line2:                 "1: more than one object",
		change(`"role"`, `"future":1,"role"`):                   `2: json: unknown field "future"`,
		change(`0123456789abcdef"`, `0"`):                       "2: serial",
		change(`"0123456789abcdef0`, `"0123456789ABCDEF0`):      "2: serial",
		change("web-1", "Web"):                                  "2: name",
		change(`"agent"`, `""`):                                 "2: role",
		change(`"10.0.0.5"`, `"10.0.0.5","10.0.0.5"`):           "2: hosts",
		change("2026-07-30T12:00:00Z", "2026-04-30T12:00:00Z"):  "2: not_after must be",
		change("2026-07-30T12:00:00Z", "2026-07-30T12:00:00+2"): "2: ",
		change("12:00:00Z", "12:00:00+02:00"):                   "2: time",
		change(`}`, `,"reason":"x"}`):                           "2: a reason without",
	} {
		if _, err := parseJournal([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}

// What is taken is written back as it is and read again.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte(line1 + line2))
	f.Add([]byte(`{"serial":"` + strings.Repeat("0", 32) + `","role":"a","name":"b","not_before":"0001-01-01T00:00:01Z","not_after":"9999-12-31T23:59:59.999999999Z","revoked_at":"0001-01-01T00:00:00Z"}` + "\n"))
	f.Add([]byte(`{"SERIAL":1}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseJournal(data)
		if err != nil {
			return
		}
		text, err := formatLines(entries)
		if err != nil {
			t.Fatalf("cannot be written: %v", err)
		}
		again, err := parseJournal(text)
		if err != nil {
			t.Fatalf("cannot be read again: %v\n%s", err, text)
		}
		once, _ := formatLines(again)
		if string(once) != string(text) {
			t.Errorf("%s\nbecame\n%s", text, once)
		}
	})
}

// No file makes the readers panic, and what they take can be shown.
func FuzzFiles(f *testing.F) {
	s, err := create(f.Context(), f.TempDir(), "example.org", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	signer, err := Lock(f.Context(), s.Dir())
	if err != nil {
		f.Fatal(err)
	}
	defer signer.Close()
	out := OutputIn(f.TempDir(), "web-1")
	if _, err := signer.Issue(web1, out); err != nil {
		f.Fatal(err)
	}
	for _, path := range []string{out.Certificate, out.Key, s.Path(CertificateFile), s.Path(CRLFile)} {
		data, err := readFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, data...))
	}
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if cert, err := ParseCertificate(data); err == nil {
			_, _ = checkCA(cert)
			_, _ = IdentityOf(cert)
			_ = HostsOf(cert)
			_ = s.Issued(cert)
			_, _, _ = s.Revocation(cert.SerialNumber)
		}
		_, _ = parseKey(data)
		if list, err := parseCRL(data); err == nil {
			_, _ = revocations(list, nil)
			_ = nextNumber(list, time.Now())
		}
	})
}
