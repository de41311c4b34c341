package rollout

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Amount is a number of hosts, or a share of all that are meant. The zero Amount
// is no host. It is comparable, and each amount has one text.
type Amount struct {
	// N is a number of hosts; of a share, basis points: 10000 is all.
	N     int
	Share bool
}

// all is the share that leaves nobody out.
const all = 10000

var amountForm = regexp.MustCompile(`\A(0|[1-9][0-9]{0,5})(?:\.([0-9]{1,2}))?(%?)\z`)

// ParseAmount reads a number of hosts such as 3, or a share such as 10% or 0.5%.
func ParseAmount(text string) (Amount, error) {
	m := amountForm.FindStringSubmatch(text)
	if m == nil || m[3] == "" && m[2] != "" {
		return Amount{}, fmt.Errorf("%s is not an amount: want a number of hosts, such as 3, or a share with at most two decimals, such as 10%% or 0.5%%", quote(text))
	}
	// The form bounds both numbers.
	whole, _ := strconv.Atoi(m[1])
	if m[3] == "" {
		if whole > maxHosts {
			return Amount{}, fmt.Errorf("%s hosts are more than a rollout can have: at most %d", text, maxHosts)
		}
		return Amount{N: whole}, nil
	}
	part, _ := strconv.Atoi((m[2] + "00")[:2])
	points := whole*100 + part
	if points > all {
		return Amount{}, fmt.Errorf("%s is more than all: want at most 100%%", text)
	}
	return Amount{N: points, Share: true}, nil
}

// String is what ParseAmount reads.
func (a Amount) String() string {
	if !a.Share {
		return strconv.Itoa(a.N)
	}
	text := strconv.Itoa(a.N / 100)
	if part := a.N % 100; part != 0 {
		text += "." + strings.TrimRight(fmt.Sprintf("%02d", part), "0")
	}
	return text + "%"
}

// MarshalText is String.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseAmount.
func (a *Amount) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAmount(string(text))
	return err
}

// Reaches is how many of n hosts are chosen: a share is rounded up, so that a
// canary of 1% is one host of thirty.
func (a Amount) Reaches(n int) int {
	if !a.Share {
		return min(a.N, n)
	}
	return (a.N*n + all - 1) / all
}

// Allows is how many of n hosts a budget grants: a share is rounded down, so that
// never more than that share is lost. 10% of five hosts is none.
func (a Amount) Allows(n int) int {
	if !a.Share {
		return min(a.N, n)
	}
	return a.N * n / all
}

// quote shows what somebody wrote, cut where it is too long to be read.
func quote(text string) string {
	const enough = 40
	if len(text) > enough {
		return strconv.Quote(text[:enough]) + "..."
	}
	return strconv.Quote(text)
}
