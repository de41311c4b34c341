package ctl

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/spec"
	"github.com/gracefleet/gracefleet/internal/link"
)

// remoteSource is an artifact that agents fetch by themselves.
type remoteSource struct {
	from            link.Link
	digest, version string
	labels          map[string]string
}

// remote is what a URL in an argument or a service file names.
func remote(a spec.Artifact) (remoteSource, error) {
	from, err := link.Parse(a.URL)
	return remoteSource{from: from, digest: a.Digest}, err
}

func (r remoteSource) request() *pb.FetchArtifactRequest {
	return &pb.FetchArtifactRequest{
		Digest: r.digest, Version: r.version, Labels: r.labels, Tree: isArchive(r.from.Name()),
		Source: &pb.FetchArtifactRequest_Url{Url: r.from.URL()},
	}
}

// held asks how much of it the agent has.
func (r remoteSource) held(ctx context.Context, c *client) (*pb.GetUploadStatusResponse, error) {
	return c.artifacts.GetUploadStatus(ctx, &pb.GetUploadStatusRequest{Digest: r.digest})
}

// fetch has the agent bring an artifact into its store, unless it is there, and
// follows it over an agent's restart. progress hears how many bytes the agent has, of
// how many; it is called from this goroutine.
func (s *session) fetch(ctx context.Context, c *client, r remoteSource, progress func(done, total int64)) (*pb.Artifact, error) {
	var last int64
	for try := 1; ; try++ {
		artifact, err := c.fetch(ctx, r.request(), progress)
		switch {
		case err == nil:
			return artifact, nil
		case try < attempts && api.WaitAsTold(ctx, err):
			continue
		// With a reason it is the source that is away, and the agent has tried long enough.
		case status.Code(err) != codes.Unavailable || api.ReasonOf(err) != pb.Reason_REASON_UNSPECIFIED || try == attempts || ctx.Err() != nil:
			return nil, r.interrupted(ctx, err)
		}
		// The question is repeated while the agent is away, see api.RetryServiceConfig.
		held, again := r.held(ctx, c)
		if again != nil {
			return nil, r.interrupted(ctx, again)
		}
		if held.GetCommittedBytes() > last {
			last, try = held.GetCommittedBytes(), 0
		}
	}
}

// fetch makes one call.
func (c *client) fetch(ctx context.Context, r *pb.FetchArtifactRequest, progress func(done, total int64)) (*pb.Artifact, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.artifacts.FetchArtifact(ctx, r)
	if err != nil {
		return nil, err
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		progress(answer.GetCommittedBytes(), answer.GetSizeBytes())
		if answer.GetArtifact() != nil {
			return answer.GetArtifact(), nil
		}
	}
}

// interrupted says how to go on, when one can. What an agent says of a source stands
// for itself.
func (r remoteSource) interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil && (status.Code(err) != codes.Unavailable || api.ReasonOf(err) != pb.Reason_REASON_UNSPECIFIED) {
		return err
	}
	return interrupted(ctx, "fetch "+r.from.String(), err)
}

// pull is fetch with a bar, which an artifact that is there already has none of.
func (s *session) pull(ctx context.Context, c *client, r remoteSource) (*pb.Artifact, error) {
	var b *bar
	artifact, err := s.fetch(ctx, c, r, func(done, total int64) {
		if b == nil && done < total {
			b = s.fetchBar(c, r.from.Name(), total)
			b.done = done
		}
		if b != nil {
			b.sent(max(done-b.done, 0), done)
		}
	})
	if b != nil {
		b.how, b.arrived = "from "+r.from.String(), err == nil
		b.close()
	}
	return artifact, err
}

// pushURL is push of an artifact that the agent fetches.
func (s *session) pushURL(ctx context.Context, c *client, text, version string, labels map[string]string, dryRun bool) error {
	r, err := labelled(text, version, labels)
	if err != nil {
		return err
	}
	if !dryRun {
		artifact, err := s.pull(ctx, c, r)
		if err != nil {
			return err
		}
		return s.pushed(artifact)
	}
	held, err := r.held(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(s.pushed(&pb.Artifact{Digest: r.digest}), wouldChange(!held.GetComplete()))
}

// pushURLToHosts is pushToHosts of an artifact that the agents fetch.
func (s *session) pushURLToHosts(ctx context.Context, hosts []inventory.Host, text, version string, labels map[string]string, dryRun bool) error {
	r, err := labelled(text, version, labels)
	if err != nil {
		return err
	}
	return s.storeOn(ctx, hosts, r.digest, func(ctx context.Context, _ inventory.Host, c *client) (done, error) {
		d := done{outcome: "unchanged", more: object{{"digest", r.digest}}}
		held, err := r.held(ctx, c)
		if err != nil || held.GetComplete() {
			return d, err
		}
		if dryRun {
			d.outcome, d.text = "would-change", "would fetch "+r.from.String()
			return d, nil
		}
		d.outcome, d.text = "pushed", "fetched "+r.from.String()
		_, err = s.fetch(ctx, c, r, func(int64, int64) {})
		return d, err
	})
}

// labelled is what a URL names, with what is recorded of it.
func labelled(text, version string, labels map[string]string) (remoteSource, error) {
	a, err := source(text)
	if err != nil {
		return remoteSource{}, err
	}
	r, err := remote(a)
	r.version, r.labels = version, labels
	return r, err
}

// supplyURL is supply of an artifact that the agent fetches.
func (s *session) supplyURL(ctx context.Context, c *client, r remoteSource, dryRun bool) (ref string, missing bool, err error) {
	if !dryRun {
		_, err := s.pull(ctx, c, r)
		return r.digest, false, err
	}
	held, err := r.held(ctx, c)
	if err == nil && !held.GetComplete() {
		s.note("the agent would fetch %s", r.from)
	}
	return r.digest, !held.GetComplete(), err
}
