package server

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// tickets let other agents fetch artifacts from this one. They are not written down:
// an agent that starts anew has granted nothing. It is safe for concurrent use.
type tickets struct {
	now func() time.Time

	proving sync.Mutex // one artifact is hashed at a time
	mu      sync.Mutex
	all     map[[sha256.Size]byte]ticket // by the hash of what its owner has
}

// ticket is who may fetch what until when.
type ticket struct {
	digest string
	agent  identity.ID
	end    time.Time
}

func newTickets() *tickets {
	return &tickets{now: time.Now, all: map[[sha256.Size]byte]ticket{}}
}

// grant lets an agent fetch an artifact. Only who shows to have its bytes may let it.
func (t *tickets) grant(s Store, digest string, agent identity.ID, proof []byte) (secret string, end time.Time, err error) {
	if err := t.prove(s, digest, proof); err != nil {
		return "", time.Time{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for key, old := range t.all {
		if !now.Before(old.end) {
			delete(t.all, key)
		}
	}
	if len(t.all) >= maxTickets {
		return "", time.Time{}, &api.Error{
			Code: codes.ResourceExhausted, Reason: pb.Reason_REASON_RATE_LIMITED, RetryAfter: ticketRetry,
			Message: fmt.Sprintf("%d fetches from this agent are granted already, each for up to %v", maxTickets, ticketLife),
		}
	}
	secret, end = rand.Text(), now.Add(ticketLife)
	t.all[sha256.Sum256([]byte(secret))] = ticket{digest, agent, end}
	return secret, end, nil
}

func (t *tickets) prove(s Store, digest string, proof []byte) error {
	t.proving.Lock()
	defer t.proving.Unlock()
	base, err := s.OpenBase(digest, proof)
	if err != nil {
		return err
	}
	return base.Close()
}

// lets says whether a secret lets an agent fetch an artifact now.
func (t *tickets) lets(secret, digest string, agent identity.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	granted, ok := t.all[sha256.Sum256([]byte(secret))]
	return ok && granted.digest == digest && granted.agent == agent && t.now().Before(granted.end)
}
