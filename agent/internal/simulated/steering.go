package simulated

import (
	"context"
	"errors"

	"github.com/gracefleet/gracefleet/agent/internal/steer"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// steering tells slots whether they get new connections.
type steering struct{}

// Set weighs the slots.
func (steering) Set(_ steer.Order, weights map[int]int, slots map[int]supervisor.Slot) error {
	for n, s := range slots {
		s.(*slot).weigh(weights[n])
	}
	return nil
}

// Close ends what runs on a slot.
func (steering) Close(ctx context.Context, _ int, s supervisor.Slot, _ steer.Order) error {
	going := s.(*slot)
	return errors.Join(going.Kill(ctx, "close"), going.Refuse())
}
