package server

import (
	"cmp"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/link"
)

// maxRecorded bounds a text of a request in the record, in bytes: names, digests and
// ids are shorter, and what is longer is refused, but recorded before.
const maxRecorded = 128

// elsewhere are the fields of requests that have a place of their own in the record.
var elsewhere = map[protoreflect.Name]bool{"service": true, "name": true, "reason": true, "request_id": true}

// detail is what a request asks for, for the record: its plain fields, so that new
// ones are in it, too. Of a specification only its artifact is told: the rest may be
// secret.
func detail(request any) map[string]string {
	m, ok := request.(proto.Message)
	if !ok {
		return nil
	}
	if up, ok := m.(*pb.UploadArtifactRequest); ok {
		return detail(up.GetHeader())
	}
	out := map[string]string{}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !elsewhere[f.Name()] {
			out[string(f.Name())] = clean(field(f, v), maxRecorded)
		}
		return true
	})
	return out
}

func field(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch {
	case f.Name() == "url":
		return place(v.String())
	case f.IsList():
		return fmt.Sprintf("%d given", v.List().Len())
	case f.IsMap():
		return fmt.Sprintf("%d given", v.Map().Len())
	case f.Message() != nil:
		return message(v.Message().Interface())
	case f.Kind() == protoreflect.BytesKind:
		return fmt.Sprintf("%d bytes", len(v.Bytes()))
	}
	return v.String()
}

// place is a URL without what may be secret in it.
func place(text string) string {
	l, err := link.Parse(text)
	if err != nil {
		return "given, and not understood"
	}
	return l.String()
}

// message is a message in a request, of which nothing is told but what is known to
// be no secret.
func message(m proto.Message) string {
	switch m := m.(type) {
	case *pb.ServiceSpec:
		return "given, artifact " + m.GetArtifact()
	case *pb.RolloutChange:
		return fmt.Sprintf("%v, artifact %s", m.GetKind(), cmp.Or(m.GetArtifact(), m.GetSpec().GetArtifact()))
	case *pb.ArtifactSeed:
		return fmt.Sprintf("%s at %s", m.GetAgentId(), m.GetAddress())
	case *pb.RolloutDriver:
		return fmt.Sprintf("of rollout %s, epoch %d", m.GetRolloutId(), m.GetEpoch())
	case interface{ AsDuration() time.Duration }:
		return m.AsDuration().String()
	}
	return "given"
}
