package registry

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The methods of etcd's API that are needed. Its generated package costs every agent
// more than a mebibyte of memory, used or not.
const (
	methodAuthenticate = "/etcdserverpb.Auth/Authenticate"
	methodGrant        = "/etcdserverpb.Lease/LeaseGrant"
	methodKeepAlive    = "/etcdserverpb.Lease/LeaseKeepAlive"
	methodRevoke       = "/etcdserverpb.Lease/LeaseRevoke"
	methodRange        = "/etcdserverpb.KV/Range"
	methodTxn          = "/etcdserverpb.KV/Txn"
)

// message is one in protobuf's encoding. The numbers of its fields are those of etcd's
// rpc.proto and kv.proto.
type message []byte

func (m message) text(field protowire.Number, text string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), text)
}

func (m message) number(field protowire.Number, n int64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), uint64(n))
}

func (m message) within(field protowire.Number, inner message) message {
	return protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), inner)
}

// each calls for every field: with its number, or with its bytes. Others are passed over.
func (m message) each(number func(protowire.Number, int64), bytes func(protowire.Number, message)) error {
	for rest := []byte(m); len(rest) > 0; {
		field, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		rest = rest[n:]
		size := protowire.ConsumeFieldValue(field, kind, rest)
		if size < 0 {
			return protowire.ParseError(size)
		}
		switch kind {
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(rest)
			number(field, int64(v))
		case protowire.BytesType:
			v, _ := protowire.ConsumeBytes(rest)
			bytes(field, v)
		}
		rest = rest[size:]
	}
	return nil
}

func nothing[T any](protowire.Number, T) {}

// numberOf is one field of a message; 0 where it has none.
func (m message) numberOf(want protowire.Number) (found int64, err error) {
	err = m.each(func(field protowire.Number, n int64) {
		if field == want {
			found = n
		}
	}, nothing)
	return found, err
}

// textOf is one field of a message; empty where it has none.
func (m message) textOf(want protowire.Number) (found string, err error) {
	err = m.each(nothing, func(field protowire.Number, text message) {
		if field == want {
			found = string(text)
		}
	})
	return found, err
}

// pair is a key as it stands in etcd; the zero value is that of none.
type pair struct {
	value    string
	revision int64
	lease    int64
}

// pairOf is the first of the keys of a RangeResponse.
func pairOf(answer message) (p pair, err error) {
	inner := answer.each(nothing, func(field protowire.Number, kv message) {
		if field != 2 || err != nil {
			return
		}
		err = kv.each(func(field protowire.Number, n int64) {
			switch field {
			case 3:
				p.revision = n
			case 6:
				p.lease = n
			}
		}, func(field protowire.Number, value message) {
			if field == 5 {
				p.value = string(value)
			}
		})
	})
	if inner != nil {
		err = inner
	}
	return p, err
}

// putUnchanged is a TxnRequest: a key is written with a lease if it has the revision
// that it had; 0 if it was not there.
func putUnchanged(key, value string, lease, revision int64) message {
	const equal, modRevision = 0, 2
	compare := message(nil).number(1, equal).number(2, modRevision).text(3, key).number(6, revision)
	put := message(nil).text(1, key).text(2, value).number(3, lease)
	return message(nil).within(1, compare).within(2, message(nil).within(2, put))
}

// codec passes messages as they are.
type codec struct{}

// Name is that of the encoding.
func (codec) Name() string { return "proto" }

// Marshal takes a message.
func (codec) Marshal(v any) ([]byte, error) {
	m, ok := v.(message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", v)
	}
	return m, nil
}

// Unmarshal gives a message.
func (codec) Unmarshal(data []byte, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("%T is no message", v)
	}
	*m = append((*m)[:0], data...)
	return nil
}
