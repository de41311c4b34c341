package chain

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var zeros = strings.Repeat("0", 64)

// What is on the disks of others must be readable for ever.
func TestGoldenLines(t *testing.T) {
	at := time.Date(2026, 11, 21, 9, 0, 0, 1, time.FixedZone("CET", 3600))
	for _, c := range []struct {
		name  string
		entry Entry
		line  string
		hash  string
	}{
		{
			name: "all of it",
			entry: Entry{
				Seq: 1, Time: at, Actor: "alice", Role: "upgrade", From: "tls 10.0.0.5:4711", Method: "/gracefleet.v1.Upgrades/StartUpgrade",
				Service: "web", Decision: Allowed, Reason: `"release" <42> & more`, RequestID: "3f1c", Detail: map[string]string{"b": "2", "a": "1"}, Prev: zeros,
			},
			line: `{"seq":1,"time":"2026-11-21T08:00:00.000000001Z","actor":"alice","role":"upgrade","from":"tls 10.0.0.5:4711",` +
				`"method":"/gracefleet.v1.Upgrades/StartUpgrade","service":"web","decision":"allowed","reason":"\"release\" <42> & more",` +
				`"request_id":"3f1c","detail":{"a":"1","b":"2"},"prev":"` + zeros + `"}`,
			hash: "1e3ef7ffbe1e9254275f299b10330786ea9e08a0b775be8a4296b802d759635a",
		},
		{
			name:  "a denial",
			entry: Entry{Seq: 2, Time: at, Actor: "uid 1000", Role: "none", From: "unix pid 812", Method: "/gracefleet.v1.Services/Stop", Decision: Denied, Why: "needs role stop", Prev: zeros},
			line: `{"seq":2,"time":"2026-11-21T08:00:00.000000001Z","actor":"uid 1000","role":"none","from":"unix pid 812",` +
				`"method":"/gracefleet.v1.Services/Stop","decision":"denied","why":"needs role stop","prev":"` + zeros + `"}`,
		},
		{
			name:  "a terminal is left alone",
			entry: Entry{Seq: 3, Time: at, Actor: "a\x1b[2J\u009b2J\x7f\nb", Role: "\u202ertl\U000e0041", From: "\xff\xfe", Decision: Allowed, Prev: zeros},
			line: `{"seq":3,"time":"2026-11-21T08:00:00.000000001Z","actor":"a\u001b[2J\u009b2J\u007f\nb","role":"\u202ertl\udb40\udc41",` +
				`"from":"` + "\uFFFD" + `","method":"","decision":"allowed","prev":"` + zeros + `"}`,
		},
	} {
		line := Encode(c.entry)
		if string(line) != c.line {
			t.Errorf("%s: wrote\n%s\nwant\n%s", c.name, line, c.line)
		}
		if c.hash != "" && Hash(line) != c.hash {
			t.Errorf("%s: hash %s, want %s", c.name, Hash(line), c.hash)
		}
		if err := Check(line); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A later version may say more: this one reads on.
func TestLineOfALaterVersion(t *testing.T) {
	line := `{"seq":7,"time":"2026-11-21T08:00:00.000000001Z","actor":"a","new":{"x":[1]},"prev":"` + zeros + `"}`
	e, err := Decode([]byte(line))
	if err != nil || e.Seq != 7 || e.Actor != "a" {
		t.Errorf("read %+v, %v", e, err)
	}
}

func TestForm(t *testing.T) {
	const begin, end = `{"seq":1,"time":"2026-11-21T08:00:00.000000001Z"`, `,"prev":"`
	for name, line := range map[string]string{
		"nothing":              "",
		"another object":       `{"a":1}`,
		"number 0":             strings.Replace(begin, ":1,", ":0,", 1) + end + zeros + `"}`,
		"number with a sign":   strings.Replace(begin, ":1,", ":+1,", 1) + end + zeros + `"}`,
		"number with a zero":   strings.Replace(begin, ":1,", ":01,", 1) + end + zeros + `"}`,
		"huge number":          strings.Replace(begin, ":1,", ":9007199254740992,", 1) + end + zeros + `"}`,
		"local time":           strings.Replace(begin, "01Z", "01+", 1) + end + zeros + `"}`,
		"month 13":             strings.Replace(begin, "-11-", "-13-", 1) + end + zeros + `"}`,
		"time goes on":         strings.Replace(begin, `1Z"`, `1Z0"`, 1) + end + zeros + `"}`,
		"short hash":           begin + end + zeros[1:] + `"}`,
		"upper case":           begin + end + strings.Repeat("A", 64) + `"}`,
		"more after it":        begin + end + zeros + `"} `,
		"more objects":         begin + `}` + begin + end + zeros + `"}`,
		"hash in an object":    begin + `,"x":{"y":1` + end + zeros + `"}`,
		"a newline":            begin + ",\n" + end[1:] + zeros + `"}`,
		"not UTF-8":            begin + `,"x":"` + "\xff" + `"` + end + zeros + `"}`,
		"too long":             begin + `,"x":"` + strings.Repeat("x", MaxLine) + `"` + end + zeros + `"}`,
		"a number in the text": begin + `,"actor":"x` + end + zeros + `"}`,
	} {
		if err := Check([]byte(line)); err == nil {
			t.Errorf("%s: accepted %.200s", name, line)
		}
	}
	if err := Check([]byte(begin + end + zeros + `"}`)); err != nil {
		t.Errorf("the shortest line: %v", err)
	}
}

func TestLongTextsAreCut(t *testing.T) {
	long := strings.Repeat("ä", 600)
	detail := map[string]string{"long": long}
	for i := range 30 {
		detail[fmt.Sprintf("k%02d", i)] = ""
	}
	e, err := Decode(Encode(Entry{Seq: 1, Reason: long, Actor: strings.Repeat("\x01", 1<<20), Detail: detail, Decision: Allowed, Prev: zeros}))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(e.Reason, "ä… (cut, 1200 bytes)") || len(e.Reason) > MaxText || len(e.Reason) < MaxText-2 {
		t.Errorf("reason of %d bytes: %q", len(e.Reason), e.Reason)
	}
	if !strings.HasSuffix(e.Actor, "… (cut, 1048576 bytes)") || len(e.Actor) != MaxText {
		t.Errorf("actor of %d bytes", len(e.Actor))
	}
	if len(e.Detail) != MaxDetails || e.Detail["…"] != "16 more left out" {
		t.Errorf("details %v", e.Detail)
	}
}

// Whatever callers say, the line has the form of one, shows nothing that a
// terminal would act on, and says it again.
func TestEveryEntryHasALine(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringN(500, 2000, -1), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		e := Entry{
			Seq: rapid.Int64Range(1, MaxSeq).Draw(t, "seq"), Time: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "time"), 5).UTC(),
			Actor: text.Draw(t, "actor"), Role: text.Draw(t, "role"), From: text.Draw(t, "from"), Method: text.Draw(t, "method"),
			Service: text.Draw(t, "service"), Decision: Denied, Why: text.Draw(t, "why"), Reason: text.Draw(t, "reason"),
			RequestID: text.Draw(t, "request id"), Detail: rapid.MapOf(text, text).Draw(t, "detail"), Prev: zeros,
		}
		line := Encode(e)
		for _, r := range string(line) {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("%q in %q", r, line)
			}
		}
		got, err := Decode(line)
		if err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if want := e.clean(); !cmp.Equal(got, want) {
			t.Fatal(cmp.Diff(want, got))
		}
		if again := Encode(got); string(again) != string(line) {
			t.Fatalf("%q became %q", line, again)
		}
		if utf8.ValidString(e.Reason) && len(e.Reason) <= MaxText && got.Reason != e.Reason {
			t.Fatalf("reason %q became %q", e.Reason, got.Reason)
		}
	})
}

// The longest line that there can be.
func TestNoLineIsTooLong(t *testing.T) {
	worst := strings.Repeat("\x01", 2*MaxText)
	detail := map[string]string{}
	for i := range 40 {
		detail[string(rune('a'+i))+worst] = worst
	}
	line := Encode(Entry{
		Seq: MaxSeq, Actor: worst, Role: worst, From: worst, Method: worst, Service: worst, Decision: Decision(worst),
		Why: worst, Reason: worst, RequestID: worst, Detail: detail, Prev: zeros,
	})
	if err := Check(line); err != nil {
		t.Errorf("%d bytes: %v", len(line), err)
	}
	t.Logf("%d bytes", len(line))
}
