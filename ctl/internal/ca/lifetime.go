package ca

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
)

const (
	day = 24 * time.Hour
	// DefaultLifetime is how long a certificate is valid unless said otherwise.
	DefaultLifetime = 90 * day
	// maxLifetime is what anybody may ask for; the end of the CA limits it further.
	maxLifetime = 100 * 366 * day
	skew        = identity.Skew
)

// ParseLifetime reads a duration such as 720h or 90d.
func ParseLifetime(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: use 90d or 720h", text)
	}
	if d < time.Second || d > maxLifetime {
		return 0, fmt.Errorf("%q: use a duration from 1s to %dd", text, int(maxLifetime/day))
	}
	return d, nil
}

func parseDuration(text string) (time.Duration, error) {
	days, ok := strings.CutSuffix(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	return time.Duration(n) * day, err
}

// FormatLifetime is the text of a duration, in days where it has whole days.
func FormatLifetime(d time.Duration) string {
	if d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	return d.String()
}
