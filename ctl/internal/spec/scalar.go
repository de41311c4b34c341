package spec

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

// ParseDuration reads a duration that is not negative, such as 200ms or 10m.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration: want a number with a unit, such as 200ms, 30s, 10m or 1h", s)
	}
	return d, nil
}

var percentForm = regexp.MustCompile(`\A([0-9]{1,3})(?:\.([0-9]{1,2}))?%\z`)

// ParsePercent reads a share such as 1% or 0.5% as basis points, 1 to 9999.
func ParsePercent(s string) (int32, error) {
	m := percentForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a percent: want a number with at most two decimals and %%, such as 1%% or 0.5%%", s)
	}
	// The form bounds both numbers: 99999 at most.
	whole, _ := strconv.Atoi(m[1])
	part, _ := strconv.Atoi((m[2] + "00")[:2])
	points := whole*100 + part
	if points < 1 || points > 9999 {
		return 0, fmt.Errorf("%s is not a step: want more than 0%% and less than 100%%, which every upgrade ends with", s)
	}
	return int32(points), nil
}

var digestForm = regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`)

// IsDigest says whether s names an artifact: "sha256:" and 64 lowercase hex digits.
func IsDigest(s string) bool { return digestForm.MatchString(s) }

// mapOf reads a mapping of names to texts into p.
func (d *decoder) mapOf(p *map[string]string) func(strict.Value) {
	return func(v strict.Value) {
		*p = map[string]string{}
		d.Entries(v, func(key string, at, val strict.Value) {
			if key == "" || strings.ContainsAny(key, "=\x00") {
				d.Fail(at, "%q is not a name: it must not be empty or contain =", key)
				return
			}
			if s, ok := d.Text(val); ok {
				(*p)[key] = s
			}
		})
	}
}

// wordOf reads one of the allowed words into p.
func (d *decoder) wordOf(p *string, allowed ...string) func(strict.Value) {
	return func(v strict.Value) {
		s, ok := d.Text(v)
		if !ok {
			return
		}
		for _, a := range allowed {
			if s == a {
				*p = s
				return
			}
		}
		d.Fail(v, "unknown value %q: %s", s, strict.Choose(s, allowed))
	}
}

// durationOf reads a duration into p.
func (d *decoder) durationOf(p **time.Duration) func(strict.Value) {
	return strict.ParsedOf(d.Decoder, p, func(text string) (*time.Duration, error) {
		duration, err := ParseDuration(text)
		return &duration, err
	})
}

// countOf reads a whole number of at least low into p.
func (d *decoder) countOf(p *int32, low int32) func(strict.Value) {
	return strict.ParsedOf(d.Decoder, p, func(text string) (int32, error) {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < int64(low) {
			return 0, fmt.Errorf("%q is not a number from %d to %d", text, low, math.MaxInt32)
		}
		return int32(n), nil
	})
}

// flagOf reads true or false into p.
func (d *decoder) flagOf(p *bool) func(strict.Value) {
	return func(v strict.Value) {
		var s string
		d.wordOf(&s, "true", "false")(v)
		*p = s == "true"
	}
}

// modeOf reads a permission, always octal, as chmod(1) takes it.
func (d *decoder) modeOf(p **uint32) func(strict.Value) {
	return strict.ParsedOf(d.Decoder, p, func(text string) (*uint32, error) {
		n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
		if err != nil || n > 0o777 {
			return nil, fmt.Errorf("%q is not an octal permission from 0000 to 0777, such as 0660", text)
		}
		mode := uint32(n)
		return &mode, nil
	})
}
