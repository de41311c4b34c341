package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

const (
	notifyLimit = 5 * time.Second  // for one URL to answer
	notifyEnd   = 10 * time.Second // for what is left to be told at the end
	notifyQueue = 256              // what may wait; more is not told
)

// notifier tells URLs what a rollout does. What they answer never matters to it.
type notifier struct {
	sc    *scene
	queue chan []byte
	done  chan struct{}
	stop  context.CancelFunc
	urls  []string
	note  func(string)
	begun bool
}

// startNotifier begins to tell; note hears of URLs that cannot be told. Without URLs
// there is nothing to do.
func startNotifier(urls []string, sc *scene, note func(string)) *notifier {
	if len(urls) == 0 {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	n := &notifier{sc: sc, queue: make(chan []byte, notifyQueue), done: make(chan struct{}), stop: stop, urls: urls, note: note}
	go n.run(ctx)
	return n
}

func (n *notifier) run(ctx context.Context) {
	defer close(n.done)
	client := &http.Client{Timeout: notifyLimit}
	defer client.CloseIdleConnections()
	for body := range n.queue {
		for _, to := range n.urls {
			if err := post(ctx, client, to, body); err != nil {
				n.note(fmt.Sprintf("note: %s was not told: %v", hostOfURL(to), err))
			}
		}
	}
}

func post(ctx context.Context, client *http.Client, to string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(req)
	if err != nil {
		var where *url.Error
		if errors.As(err, &where) {
			err = where.Err // its own text has the whole URL, which may be a secret
		}
		return err
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, 64<<10)
	if answer.StatusCode >= 300 {
		return fmt.Errorf("it answered %s", answer.Status)
	}
	return nil
}

// change tells what matters to those who do not watch.
func (n *notifier) change(sc *scene, c runner.Change) {
	if n == nil || c.Event.Type == 0 {
		return
	}
	now, before := c.State, c.Before
	if !n.begun && now.Phase >= rollout.Fetching && now.Phase < rollout.Closing {
		n.begun = true
		n.tell("begin", now, nil)
	}
	waved := before.Phase == rollout.Rolling && (now.Phase == rollout.Pausing || now.Phase == rollout.Closing || now.Phase == rollout.Rolling && now.Wave != before.Wave)
	if waved {
		n.tell("wave", now, object{{"wave", before.Wave + 1}})
	}
	if n.begun && sc.hold != sc.was && sc.hold != rollout.Free && now.Phase < rollout.Closing {
		n.tell("hold", now, object{{"why", sc.hold.String()}})
	}
}

func (n *notifier) tell(event string, state *rollout.State, more object) {
	o := object{
		{"event", event},
		{"time", timestamp(time.Now())},
		{"rollout", n.sc.id},
		{"service", n.sc.spec.Service},
		{"actor", n.sc.spec.Request.Actor},
		{"reason", n.sc.spec.Request.Reason},
		{"waves", len(n.sc.spec.Plan.Waves)},
		{"hosts", countOutcomes(state.Results())},
	}
	body, err := json.Marshal(append(o, more...))
	if err != nil {
		return // names and numbers
	}
	select {
	case n.queue <- body:
	default:
		n.note("note: an event is not told: those before it still wait")
	}
}

// end tells of the end and waits, for some time, until all is told.
func (n *notifier) end(state *rollout.State) {
	if n == nil {
		return
	}
	if state != nil && n.begun {
		v := state.Verdict()
		n.tell("end", state, object{{"outcome", verdictWord(v)}, {"exitCode", int(v)}, {"why", state.Why}})
	}
	close(n.queue)
	timer := time.AfterFunc(notifyEnd, n.stop)
	<-n.done
	timer.Stop()
	n.stop()
}

// hostOfURL names whom a URL is of: the rest of it may be a secret.
func hostOfURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a URL of --notify"
	}
	return u.Host
}

// checkNotify refuses what is no URL before anything begins.
func checkNotify(urls []string) error {
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return usage("--notify: want an http:// or https:// URL")
		}
	}
	return nil
}
