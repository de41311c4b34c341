package statement

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxRelease is the highest release number: one that every reader of JSON has room
// for.
const MaxRelease = 999_999_999_999_999

const (
	head      = "gracefleet statement 1"
	timeForm  = "2006-01-02T15:04:05Z"
	maxStated = 1 << 10 // bytes of a statement
)

// fields are a statement's lines below its head.
var fields = [...]struct {
	name string
	form *regexp.Regexp
	want string
}{
	{"service", regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\z`), "1 to 63 of a-z, 0-9, and . _ - between them"},
	{"platform", regexp.MustCompile(`\A[a-z0-9]{1,16}/[a-z0-9]{1,16}\z`), "OS/ARCHITECTURE, such as linux/amd64"},
	{"artifact", regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`), "sha256: and 64 digits of 0-9, a-f"},
	{"release", regexp.MustCompile(`\A[1-9][0-9]{0,14}\z`), fmt.Sprintf("a number from 1 to %d", int64(MaxRelease))},
	{"expires", regexp.MustCompile(`\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\z`), "a time in UTC, such as 2027-01-31T12:00:00Z"},
	{"key", regexp.MustCompile(`\A[0-9A-F]{16}\z`), "the 16 digits of a minisign key's id"},
}

// values are what stands in the fields.
type values [len(fields)]string

// Statement says that an artifact is a release of a service.
type Statement struct {
	Service  string
	Platform string // such as linux/amd64
	Artifact string // sha256:HEX
	Release  int64  // from 1 to MaxRelease; a higher one is newer
	Expires  time.Time
	Key      string // id of the key that signs, as FormatKey writes it
}

// FormatKey is a key's id as minisign shows it.
func FormatKey(id uint64) string { return fmt.Sprintf("%016X", id) }

func (s Statement) values() values {
	return values{
		s.Service, s.Platform, s.Artifact, strconv.FormatInt(s.Release, 10), s.Expires.UTC().Format(timeForm), s.Key,
	}
}

// Check says what is wrong with one that is to be signed; by which key need not be
// known yet.
func (s Statement) Check() error {
	for i, value := range s.values() {
		if value == "" && fields[i].name == "key" {
			continue
		}
		if err := checkField(i, value); err != nil {
			return err
		}
	}
	return nil
}

func checkField(i int, value string) error {
	if f := fields[i]; !f.form.MatchString(value) {
		return &Refusal{f.name, fmt.Sprintf("%s %.80q: want %s", f.name, value, f.want)}
	}
	return nil
}

// Text is the statement as it is signed: of two equal ones it is the same.
func (s Statement) Text() []byte {
	var b strings.Builder
	b.WriteString(head + "\n")
	for i, value := range s.values() {
		b.WriteString(fields[i].name + ": " + value + "\n")
	}
	return []byte(b.String())
}

// Parse reads what Text writes, and nothing else: there is one text for each
// statement.
func Parse(text []byte) (Statement, error) {
	if len(text) > maxStated {
		return Statement{}, malformed("it has %d bytes, of at most %d", len(text), maxStated)
	}
	lines := strings.Split(string(text), "\n")
	if lines[0] != head {
		return Statement{}, malformed("its first line is not %q", head)
	}
	if len(lines) != len(fields)+2 || lines[len(fields)+1] != "" {
		return Statement{}, malformed("want %d lines", len(fields)+1)
	}
	var v values
	for i, line := range lines[1 : len(fields)+1] {
		value, ok := strings.CutPrefix(line, fields[i].name+": ")
		if !ok {
			return Statement{}, malformed("line %d: want %q", i+2, fields[i].name+": ...")
		}
		if err := checkField(i, value); err != nil {
			return Statement{}, err
		}
		v[i] = value
	}
	return fromValues(v)
}

func fromValues(v values) (Statement, error) {
	release, err := strconv.ParseInt(v[3], 10, 64)
	if err != nil {
		return Statement{}, malformed("release %q: %v", v[3], err)
	}
	expires, err := time.Parse(timeForm, v[4])
	if err != nil {
		return Statement{}, malformed("expires %q: it is no time", v[4])
	}
	return Statement{Service: v[0], Platform: v[1], Artifact: v[2], Release: release, Expires: expires, Key: v[5]}, nil
}

func malformed(format string, args ...any) error {
	return &Refusal{"form", "not a statement: " + fmt.Sprintf(format, args...)}
}

// Use is what somebody wants to run.
type Use struct {
	Service, Platform, Artifact string
	At                          time.Time
}

// Allows says whether the statement is about that; whose it is, it does not.
func (s Statement) Allows(u Use) error {
	switch {
	case s.Service != u.Service:
		return &Refusal{"service", fmt.Sprintf("it is for the service %q", s.Service)}
	case s.Platform != u.Platform:
		return &Refusal{"platform", fmt.Sprintf("it is for %s, this is %s", s.Platform, u.Platform)}
	case s.Artifact != u.Artifact:
		return &Refusal{"artifact", fmt.Sprintf("it is for the artifact %s, not %s: sign that one", s.Artifact, u.Artifact)}
	case u.At.After(s.Expires):
		return &Refusal{"expires", fmt.Sprintf("it expired on %s: sign the artifact again", s.Expires.Format(timeForm))}
	}
	return nil
}
