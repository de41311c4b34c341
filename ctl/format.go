package ctl

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

func formatHex(r rune) string { return strconv.FormatInt(int64(r), 16) }

// short is an artifact's name for people: 12 hex digits of a digest.
func short(artifact string) string {
	if hex, ok := strings.CutPrefix(artifact, "sha256:"); ok && len(hex) > 12 {
		return hex[:12]
	}
	return artifact
}

// percent is a share in basis points for people: 10000 is 100%.
func percent(points int32) string {
	return strconv.FormatFloat(float64(points)/100, 'f', -1, 64) + "%"
}

// count is a number and its noun.
func count[N int | int32](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// maybe is a number that may not be known.
func maybe(n *int32) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(int(*n))
}

// span is a duration for people, with about three digits.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// until is the time left until t in whole seconds; "" when t is not set.
func until(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return ""
	}
	return max(0, t.AsTime().Sub(now)).Round(time.Second).String()
}

// ago is how long t is past; "-" when t is not set.
func ago(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return "-"
	}
	d := max(0, now.Sub(t.AsTime()))
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	if d < time.Hour {
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	if d < 48*time.Hour {
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return span(d)
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}
