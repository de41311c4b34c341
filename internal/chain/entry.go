package chain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Limits of a line. What is longer is cut and says so.
const (
	// MaxText is how many bytes of UTF-8 a text of an Entry may have.
	MaxText = 1 << 10
	// MaxDetails is how many details an Entry may have.
	MaxDetails = 16
	// MaxLine is more bytes than a line can have: each byte of a text takes up
	// to six.
	MaxLine = 256 << 10
)

// Decision is what became of a request.
type Decision string

// The decisions.
const (
	Allowed Decision = "allowed"
	Denied  Decision = "denied"
)

// MethodDamaged is the method of the line with which the record goes on after
// lines that are not in order. It is chained to the last line before them that is.
const MethodDamaged = "audit.damaged"

// Entry is what one line says. Texts are the caller's: Encode makes them valid
// UTF-8, cuts them at MaxText and escapes what a terminal would act on. They must
// hold no secrets.
type Entry struct {
	// Seq numbers the lines from 1, without gaps. The log assigns it.
	Seq int64
	// Time is when the line was written, in UTC, and never before that of the
	// line before. The log assigns it.
	Time time.Time
	// Actor is who asked, Role what it was allowed as.
	Actor, Role string
	// From is where the request came from: "unix pid 812", "tls 10.0.0.5:4711".
	From string
	// Method is the full gRPC method, Service the service it was about, if any.
	Method, Service string
	// Decision is Allowed or Denied, Why the reason of a denial.
	Decision Decision
	Why      string
	// Reason is what the caller gave as such, RequestID how it named the request.
	Reason, RequestID string
	// Detail is what else is worth knowing. The keys are sorted in a line.
	Detail map[string]string
	// Prev is the hash of the line before. The log assigns it.
	Prev string
}

// Head names a line: its number and the hash of its bytes, which vouches for all
// lines up to it. The zero Head is before the first line.
type Head struct {
	Seq int64
	// Hash is the SHA-256 in 64 lower-case hex digits.
	Hash string
}

// zeroHash is what the first line is chained to.
var zeroHash = strings.Repeat("0", 64)

// Chained is what the line after this head has as Prev.
func (h Head) Chained() string {
	if h.Seq == 0 && h.Hash == "" {
		return zeroHash
	}
	return h.Hash
}

// String is "17 9f86d08…", all digits of the hash.
func (h Head) String() string { return fmt.Sprintf("%d %s", h.Seq, h.Chained()) }

// clean returns the entry with every text fit for a line.
func (e Entry) clean() Entry {
	for _, text := range []*string{&e.Actor, &e.Role, &e.From, &e.Method, &e.Service, &e.Why, &e.Reason, &e.RequestID} {
		*text = clip(*text)
	}
	e.Decision = Decision(clip(string(e.Decision)))
	e.Detail = cleanDetail(e.Detail)
	return e
}

// cleanDetail keeps the first details in the order of their keys. What is left
// out is counted under a key of its own.
func cleanDetail(detail map[string]string) map[string]string {
	if len(detail) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(detail))
	kept := map[string]string{}
	if more := len(keys) - (MaxDetails - 1); len(keys) > MaxDetails {
		kept["…"] = fmt.Sprintf("%d more left out", more)
		keys = keys[:MaxDetails-1]
	}
	for _, key := range keys {
		kept[clip(key)] = clip(detail[key])
	}
	return kept
}

// clip makes a text valid UTF-8 of at most MaxText bytes. The end of one that was
// cut says how long it was.
func clip(s string) string {
	length := len(s)
	const enough = 4 * MaxText // a hostile text is not looked at any further
	s = strings.ToValidUTF8(s[:min(length, enough)], "\uFFFD")
	if length <= enough && len(s) <= MaxText {
		return s
	}
	mark := fmt.Sprintf("… (cut, %d bytes)", length)
	return strings.ToValidUTF8(s[:MaxText-len(mark)], "") + mark // no half of a character
}
