package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// followLimit bounds a wait in a trial, readiness and drain included.
const followLimit = 2 * time.Minute

// await follows the service until a condition holds.
func (t *trial) await(ctx context.Context, until func(*pb.ServiceStatus) bool) (*pb.ServiceStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	stream, err := t.services.WatchService(ctx, &pb.WatchServiceRequest{Name: t.report.Service})
	if err != nil {
		return nil, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("follow the trial: %w", err)
		}
		if until(m.GetStatus()) {
			return m.GetStatus(), nil
		}
	}
}

// ended waits for the end of the upgrade under way.
func (t *trial) ended(ctx context.Context) (*pb.ServiceStatus, error) {
	return t.await(ctx, func(st *pb.ServiceStatus) bool { return st.GetUpgrade().GetState() >= pb.Upgrade_STATE_SUCCEEDED })
}

// restart starts the same again, as the next generation.
func (t *trial) restart(ctx context.Context) (*pb.ServiceStatus, error) {
	answer, err := t.upgrades.StartUpgrade(ctx, &pb.StartUpgradeRequest{Service: t.report.Service, Restart: true})
	if err != nil {
		return nil, err
	}
	return t.await(ctx, func(st *pb.ServiceStatus) bool {
		return st.GetUpgrade().GetId() == answer.GetUpgrade().GetId() && st.GetUpgrade().GetState() >= pb.Upgrade_STATE_SUCCEEDED
	})
}

// forget ends the service and deletes it, if it came to be.
func (t *trial) forget(ctx context.Context) error {
	_, err := t.services.StopService(ctx, &pb.StopServiceRequest{Name: t.report.Service, Now: true})
	if api.ReasonOf(err) == pb.Reason_REASON_SERVICE_NOT_FOUND {
		return nil
	}
	if err == nil {
		_, err = t.await(ctx, func(st *pb.ServiceStatus) bool {
			return !slices.ContainsFunc(st.GetGenerations(), func(g *pb.Generation) bool { return !over(g) })
		})
	}
	if err == nil {
		_, err = t.services.DeleteService(ctx, &pb.DeleteServiceRequest{Name: t.report.Service})
	}
	return err
}

func generation(st *pb.ServiceStatus, number int32) *pb.Generation {
	for _, g := range st.GetGenerations() {
		if g.GetNumber() == number {
			return g
		}
	}
	return nil
}

func active(st *pb.ServiceStatus) *pb.Generation {
	return generation(st, st.GetService().GetActiveGeneration())
}

func over(g *pb.Generation) bool { return g.GetState() >= pb.Generation_STATE_STOPPED }

// words are why an upgrade failed, with the program's last lines.
func words(up *pb.Upgrade) string {
	text := up.GetMessage()
	if lines := up.GetLastLines(); len(lines) > 0 {
		text += "; it said: " + strings.Join(lines[max(0, len(lines)-3):], " | ")
	}
	return text
}

func took(up *pb.Upgrade) string {
	return up.GetReadyTime().AsTime().Sub(up.GetCreateTime().AsTime()).Round(time.Millisecond).String()
}
