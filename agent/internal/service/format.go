package service

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// formatDuration writes 10m where Go's own form is 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// formatPercent writes basis points as 1%, 0.25%.
func formatPercent(basisPoints int) string {
	return strconv.FormatFloat(float64(basisPoints)/100, 'f', -1, 64) + "%"
}

func formatSteps(steps []Step) string {
	parts := make([]string, len(steps))
	for i, s := range steps {
		parts[i] = formatPercent(s.Weight)
		if s.Manual {
			parts[i] += " manual"
		}
	}
	return strings.Join(parts, ", ")
}

// formatWords quotes the words that would not stand for themselves.
func formatWords(words []string) string {
	parts := make([]string, len(words))
	for i, w := range words {
		parts[i] = w
		if w == "" || strings.ContainsAny(w, " \t\"'\\") || hasControl(w) {
			parts[i] = strconv.Quote(w)
		}
	}
	return strings.Join(parts, " ")
}

func formatSignal(number int) string {
	if name := SignalName(number); name != "" {
		return name
	}
	return strconv.Itoa(number)
}

func formatSocket(s Socket) string {
	parts := []string{s.Address.String()}
	if s.Backlog != 0 {
		parts = append(parts, fmt.Sprintf("backlog %d", s.Backlog))
	}
	if s.Mode != nil {
		parts = append(parts, fmt.Sprintf("mode %04o", *s.Mode))
	}
	if s.Address.V6Only {
		parts = append(parts, "v6only")
	}
	if s.Address.Device != "" {
		parts = append(parts, "device "+s.Address.Device)
	}
	if s.FreeBind {
		parts = append(parts, "freebind")
	}
	return strings.Join(parts, ", ")
}

func formatHTTP(h HTTPProbe) string {
	status := ""
	if h.Status != 0 {
		status = strconv.Itoa(h.Status)
	}
	return formatFields("socket", h.Socket, "scheme", h.Scheme, "host", h.Host, "path", h.Path, "status", status, "tls", formatTLS(h.TLS))
}

func formatTLS(t *TLSProbe) string {
	if t == nil {
		return ""
	}
	skip := ""
	if t.SkipVerify {
		skip = "true"
	}
	return formatFields("server_name", t.ServerName, "ca", t.CA, "skip_verify", skip)
}

// formatFields writes {key: value, ...} of the values that are set.
func formatFields(pairs ...string) string {
	var parts []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			parts = append(parts, pairs[i]+": "+pairs[i+1])
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
