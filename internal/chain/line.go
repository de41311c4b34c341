package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// TimeFormat is how a line tells the time: of fixed width, always UTC, so that
// later times are greater texts.
const TimeFormat = "2006-01-02T15:04:05.000000000Z"

// written is an Entry as JSON, in the order of its keys in a line. Readers rely on
// seq and time as the first and prev as the last; later versions may add keys
// before prev.
type written struct {
	Seq       int64             `json:"seq"`
	Time      string            `json:"time"`
	Actor     string            `json:"actor"`
	Role      string            `json:"role"`
	From      string            `json:"from"`
	Method    string            `json:"method"`
	Service   string            `json:"service,omitempty"`
	Decision  Decision          `json:"decision"`
	Why       string            `json:"why,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	Detail    map[string]string `json:"detail,omitempty"`
	Prev      string            `json:"prev"`
}

// Encode returns the line of an entry, without a newline. Texts are made fit for
// it; Seq, Time and Prev are written as they are.
func Encode(e Entry) []byte {
	e = e.clean()
	w := written{
		Seq: e.Seq, Time: e.Time.UTC().Format(TimeFormat), Actor: e.Actor, Role: e.Role, From: e.From, Method: e.Method,
		Service: e.Service, Decision: e.Decision, Why: e.Why, Reason: e.Reason, RequestID: e.RequestID, Detail: e.Detail, Prev: e.Prev,
	}
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false) // a shell's text stays readable
	_ = encoder.Encode(w)        // neither texts nor a buffer fail
	return escape(bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
}

// escape replaces what JSON leaves alone and a terminal does not: DEL, the control
// characters above it, marks that change the direction of text. They occur inside
// of strings only.
func escape(line []byte) []byte {
	if !bytes.ContainsFunc(line, hidden) {
		return line
	}
	out := make([]byte, 0, len(line)+32)
	for _, r := range string(line) {
		switch {
		case !hidden(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff: // as two halves
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func hidden(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }

// Hash is what the next line is chained to.
func Hash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Check says what is wrong with the form of a line, if anything.
func Check(line []byte) error {
	_, err := frameOf(line)
	return err
}

// Decode reads a line. It fails where Check does.
func Decode(line []byte) (Entry, error) {
	if err := Check(line); err != nil {
		return Entry{}, err
	}
	var w written
	if err := json.Unmarshal(line, &w); err != nil {
		return Entry{}, err
	}
	at, err := time.Parse(TimeFormat, w.Time)
	if err != nil {
		return Entry{}, err
	}
	return Entry{
		Seq: w.Seq, Time: at, Actor: w.Actor, Role: w.Role, From: w.From, Method: w.Method, Service: w.Service,
		Decision: w.Decision, Why: w.Why, Reason: w.Reason, RequestID: w.RequestID, Detail: w.Detail, Prev: w.Prev,
	}, nil
}

// Number reads the number of a line at its beginning; the rest is not looked at.
func Number(line []byte) (seq int64, ok bool) {
	rest, begins := bytes.CutPrefix(line, []byte(lineBegin))
	digits, _, found := bytes.Cut(rest, []byte(lineTime))
	if !begins || !found {
		return 0, false
	}
	seq, err := parseSeq(digits)
	return seq, err == nil
}

// frame is what the verifier reads of a line; the rest is covered by its hash.
type frame struct {
	seq  int64
	time string
	prev string
}

// The fixed parts of a line.
const (
	lineBegin = `{"seq":`
	lineTime  = `,"time":"`
	linePrev  = `,"prev":"`
	lineEnd   = `"}`

	prevLen = len(linePrev) + 2*sha256.Size + len(lineEnd)
)

// MaxSeq is the greatest number of a line: readers of JSON that know floating point
// alone mistake those above it.
const MaxSeq = 1<<53 - 1

var errForm = errors.New("not a line of the record")

func frameOf(line []byte) (frame, error) {
	if len(line) > MaxLine {
		return frame{}, fmt.Errorf("%w: longer than %d bytes", errForm, MaxLine)
	}
	var f frame
	rest, ok := bytes.CutPrefix(line, []byte(lineBegin))
	digits, rest, found := bytes.Cut(rest, []byte(lineTime))
	if !ok || !found || len(rest) < len(TimeFormat)+len(`"`)+prevLen {
		return f, fmt.Errorf("%w: it does not begin with a number and a time", errForm)
	}
	var err error
	if f.seq, err = parseSeq(digits); err != nil {
		return f, err
	}
	f.time = string(rest[:len(TimeFormat)])
	if _, err := time.Parse(TimeFormat, f.time); err != nil || rest[len(TimeFormat)] != '"' {
		return f, fmt.Errorf("%w: no time in it", errForm)
	}
	if f.prev, err = parsePrev(line[len(line)-prevLen:]); err != nil {
		return f, err
	}
	if bytes.IndexByte(line, '\n') >= 0 || !utf8.Valid(line) || !json.Valid(line) {
		return f, fmt.Errorf("%w: not an object of JSON", errForm)
	}
	return f, nil
}

func parseSeq(digits []byte) (int64, error) {
	seq, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || seq < 1 || seq > MaxSeq || digits[0] < '1' || digits[0] > '9' {
		return 0, fmt.Errorf("%w: no number in it", errForm)
	}
	return seq, nil
}

// parsePrev reads the last key of a line. Nothing else in a valid object can end
// like this: an inner object would leave the outer one open, and inside of a
// string the quotes are escaped.
func parsePrev(end []byte) (string, error) {
	hash, ok := bytes.CutPrefix(end, []byte(linePrev))
	hash, closed := bytes.CutSuffix(hash, []byte(lineEnd))
	if !ok || !closed || !IsHash(string(hash)) {
		return "", fmt.Errorf("%w: it does not end with the hash of the one before", errForm)
	}
	return string(hash), nil
}

// IsHash says whether a text is a hash as Hash makes them.
func IsHash(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}
