package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/pause"
)

const (
	maxAnswer = 1 << 20 // bytes of an answer that are read
	maxWords  = 200     // bytes of what a command said that are repeated
)

// answer is what one attempt of a check came to.
type answer struct {
	check  int
	passed bool  // for as long as it must be asked
	failed error // too often
}

// examine asks all checks at once until each has passed, which is nil, or one has failed
// too often.
func (t *task) examine(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	answers := make(chan answer)
	for i, c := range t.spec.Policy.Checks {
		work.Go(func() { t.repeat(ctx, c, i, answers) })
	}
	passed := make(map[int]bool)
	for {
		select {
		case a := <-answers:
			if a.failed != nil {
				return a.failed
			}
			if delete(passed, a.check); a.passed {
				passed[a.check] = true
			}
			if len(passed) == len(t.spec.Policy.Checks) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// repeat asks one check until ctx ends.
func (t *task) repeat(ctx context.Context, c rollout.Check, index int, answers chan<- answer) {
	began, failures := time.Now(), 0
	for {
		due := time.Now().Add(c.Interval)
		err := t.question(ctx, c)
		a := answer{check: index, passed: err == nil && time.Since(began) >= c.For}
		if failures++; err == nil {
			failures = 0
		}
		if failures >= c.Failures {
			a.failed = fmt.Errorf("%s failed %d times in a row: %w", c, failures, err)
		}
		select {
		case answers <- a:
		case <-ctx.Done():
			return
		}
		if pause.For(ctx, time.Until(due)) != nil {
			return
		}
	}
}

// question is one attempt.
func (t *task) question(ctx context.Context, c rollout.Check) error {
	if len(c.Command) > 0 {
		select {
		case t.programs <- struct{}{}:
			defer func() { <-t.programs }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Interval)
	defer cancel()
	address := t.o.Address(t.Host)
	if len(c.Command) > 0 {
		return t.command(ctx, c.Command, strings.NewReplacer("{host}", t.Host, "{address}", address))
	}
	if strings.Contains(address, ":") {
		address = "[" + address + "]" // in URLs, and in what Prometheus calls an instance
	}
	texts := strings.NewReplacer("{host}", t.Host, "{address}", address)
	if c.HTTP != "" {
		_, err := get(ctx, texts.Replace(c.HTTP))
		return err
	}
	data, err := get(ctx, strings.TrimSuffix(texts.Replace(c.Prometheus), "/")+"/api/v1/query?query="+url.QueryEscape(texts.Replace(c.Query)))
	if err != nil {
		return err
	}
	return holds(data)
}

func (t *task) command(ctx context.Context, words []string, texts *strings.Replacer) error {
	args := make([]string, len(words))
	for i, w := range words {
		args[i] = texts.Replace(w)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(),
		"GRACEFLEET_HOST="+t.Host, "GRACEFLEET_ADDRESS="+t.o.Address(t.Host), "GRACEFLEET_SERVICE="+t.spec.Service, "GRACEFLEET_ROLLOUT="+t.id)
	cmd.WaitDelay = 200 * time.Millisecond // what it started may hold its output
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %q", err, said.String())
	}
	return nil
}

// tail keeps the last words of what is written.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	if len(p) > maxWords {
		t.Reset()
		t.Buffer.Write(p[len(p)-maxWords:])
		return len(p), nil
	}
	t.Buffer.Write(p)
	t.Next(max(0, t.Len()-maxWords))
	return len(p), nil
}

// checks asks without keeping connections: hosts are many, and asked seldom.
var checks = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}

// get is the body of an answer 2xx.
func get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := checks.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("GET %s answered %s", address, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}

// holds reads the answer of Prometheus to an instant query: a vector, of which any
// element will do, or a scalar.
func holds(data []byte) error {
	var a struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Type   string            `json:"resultType"`
			Result []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return fmt.Errorf("the answer is none of Prometheus: %w", err)
	}
	switch {
	case a.Status != "success":
		return fmt.Errorf("the query failed: %s", a.Error)
	case a.Data.Type == "vector" && len(a.Data.Result) > 0:
		return nil
	case a.Data.Type == "vector":
		return errors.New("the query has no result: what it asks for does not hold")
	case a.Data.Type == "scalar" && len(a.Data.Result) == 2:
		return nonZero(a.Data.Result[1])
	}
	return fmt.Errorf("the query answers a %s: want a vector or a scalar", a.Data.Type)
}

func nonZero(value json.RawMessage) error {
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return fmt.Errorf("the answer is none of Prometheus: %w", err)
	}
	if n, err := strconv.ParseFloat(text, 64); err != nil || n == 0 || math.IsNaN(n) {
		return fmt.Errorf("the query answers %s", text)
	}
	return nil
}
