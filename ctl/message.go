package ctl

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// object is a JSON object that keeps the order of its members.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(m.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := e.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// MarshalYAML is the same for goccy/go-yaml.
func (o object) MarshalYAML() (any, error) {
	out := make(yaml.MapSlice, len(o))
	for i, m := range o {
		out[i] = yaml.MapItem{Key: m.key, Value: m.value}
	}
	return out, nil
}

// message converts a message as protojson does, except for what scripts
// stumble over: counters are numbers even with 64 bits, enum values come
// without their prefix, zeros are printed, and what is not known is absent.
func message(m proto.Message) object {
	return fields(m.ProtoReflect())
}

func fields(m protoreflect.Message) object {
	o := object{}
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		f := all.Get(i)
		if f.HasPresence() && !m.Has(f) {
			continue
		}
		if v := fieldValue(f, m.Get(f)); v != nil {
			o = append(o, member{f.JSONName(), v})
		}
	}
	return o
}

func fieldValue(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch {
	case f.IsList():
		out := []any{}
		for i := range v.List().Len() {
			out = append(out, single(f, v.List().Get(i)))
		}
		return out
	case f.IsMap():
		out := object{}
		v.Map().Range(func(k protoreflect.MapKey, e protoreflect.Value) bool {
			out = append(out, member{k.String(), single(f.MapValue(), e)})
			return true
		})
		slices.SortFunc(out, func(a, b member) int { return strings.Compare(a.key, b.key) })
		return out
	}
	return single(f, v)
}

// single converts one value; nil for an enum that is not set.
func single(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return nested(v.Message())
	case protoreflect.EnumKind:
		if v.Enum() == 0 {
			return nil
		}
		return enumName(f.Enum(), v.Enum())
	case protoreflect.BytesKind:
		return string(v.Bytes())
	}
	return v.Interface()
}

// nested converts a message; timestamps and durations are text, as in protojson.
func nested(m protoreflect.Message) any {
	switch m.Descriptor().FullName() {
	case "google.protobuf.Timestamp", "google.protobuf.Duration":
		var s string
		b, err := protojson.Marshal(m.Interface())
		if err != nil || json.Unmarshal(b, &s) != nil {
			return nil // out of the range that the type allows
		}
		return s
	}
	return fields(m)
}

// enumName is a value's name without the prefix that all values share.
func enumName(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) any {
	v := e.Values().ByNumber(n)
	if v == nil {
		return int32(n)
	}
	prefix, _ := strings.CutSuffix(string(e.Values().ByNumber(0).Name()), "UNSPECIFIED")
	return strings.TrimPrefix(string(v.Name()), prefix)
}

// many converts messages to a list, empty rather than absent.
func many[M proto.Message](all []M) []any {
	out := make([]any, len(all))
	for i, m := range all {
		out[i] = message(m)
	}
	return out
}

// word is the name of an enum's value as people and scripts see it.
func word(e protoreflect.Enum) string {
	s, ok := enumName(e.Descriptor(), e.Number()).(string)
	if !ok {
		return "UNKNOWN"
	}
	return s
}
