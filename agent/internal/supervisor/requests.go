package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// pastRequest is a request that was carried out, under its caller's id.
type pastRequest struct {
	ID string `json:"id"`
	// Body is a digest of what was asked.
	Body    string    `json:"body"`
	At      time.Time `json:"at"`
	Upgrade string    `json:"upgrade,omitempty"` // the upgrade it led to
}

func digest(kind string, body any) string {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("a request that cannot be written down: %v", err)) // plain data always can
	}
	sum := sha256.Sum256(append([]byte(kind+"\x00"), raw...))
	return hex.EncodeToString(sum[:])
}

// repeated finds an earlier request with the id. The same id for something else
// is refused.
func (o *owner) repeated(id, body string) (*pastRequest, error) {
	if id == "" {
		return nil, nil
	}
	for i := range o.rec.Requests {
		q := &o.rec.Requests[i]
		if q.ID != id {
			continue
		}
		if q.Body != body {
			return nil, fmt.Errorf("%w: %s", ErrRequestIDReused, id)
		}
		return q, nil
	}
	return nil, nil
}

// remember records a request in the same write as its effect.
func (o *owner) remember(id, body, upgrade string) {
	if id == "" {
		return
	}
	o.rec.Requests = append(o.rec.Requests, pastRequest{ID: id, Body: body, At: o.wall(), Upgrade: upgrade})
}

// knows says whether a request of this id was carried out before.
func (o *owner) knows(id string) bool {
	for _, q := range o.rec.Requests {
		if id != "" && q.ID == id {
			return true
		}
	}
	return false
}
