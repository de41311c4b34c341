package ctl

import (
	"time"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// notThere says whether an agent refused for lack of the artifact, as it must
// while a dry run has pushed nothing.
func notThere(err error) bool {
	return api.ReasonOf(err) == pb.Reason_REASON_ARTIFACT_NOT_FOUND
}

// concludeDry ends the dry run of a command whose output is records.
func (s *session) concludeDry(service string, change bool, changes []*pb.FieldChange) error {
	r := result{outcome: "unchanged", host: "unchanged", service: service, text: service + ": would change nothing", body: changeTexts(changes)}
	if change {
		r.code, r.outcome, r.host, r.text = ExitWouldChange, "would-change", "would-change", service+": would change"
	}
	if s.structured() {
		if err := s.record("changes", time.Now(), object{{"service", service}, {"changes", many(changes)}}); err != nil {
			return err
		}
	}
	return s.conclude(r)
}
