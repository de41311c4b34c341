package audit

import (
	"context"
	"os"
)

// Verify verifies the record in a directory as a client would, without changing
// anything. Known, if not zero, is a head that somebody kept and which the record must
// have. Head is that of the last line in order.
func Verify(ctx context.Context, dir string, known Head) (Head, []*Damage, error) {
	f, err := os.Open(dir)
	if err != nil {
		return Head{}, nil, err
	}
	d := &disk{dir: f}
	defer func() { _ = d.close() }()
	parts, err := find(d)
	if err != nil {
		return Head{}, nil, err
	}
	return parts.verify(ctx, known)
}

// Verify verifies the record beside whoever appends, as far as it is durable.
func (l *Log) Verify(ctx context.Context, known Head) (Head, []*Damage, error) {
	s, err := l.Snapshot()
	if err != nil {
		return Head{}, nil, err
	}
	return s.files.verify(ctx, known)
}

func (f *files) verify(ctx context.Context, known Head) (Head, []*Damage, error) {
	defer f.close()
	s, err := f.survey(ctx, known)
	if err != nil {
		return Head{}, nil, err
	}
	return s.verifier.Head(), s.verifier.Damages(), nil
}
