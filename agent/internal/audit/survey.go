package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// survey is what the files of a record hold.
type survey struct {
	verifier *chain.Verifier
	segments []segment
	highest  int64 // no line has a greater number, as far as can be told

	torn string // what is wrong with the end of the last file; empty: nothing
}

// survey verifies a record. What was never acknowledged, at the end of the last
// file, is neither an error nor part of the record. Only an end of ctx is an error.
func (f *files) survey(ctx context.Context, known Head) (*survey, error) {
	anchor := f.anchor.head
	s := &survey{verifier: chain.NewVerifier(anchor, known), highest: anchor.Seq}
	if f.anchor.err != nil {
		_ = s.verifier.Spoil(&Damage{Kind: chain.Changed, Seq: 1, Why: "what the oldest file is chained to cannot be told: " + f.anchor.err.Error(), Where: anchorName})
	}
	for i, p := range f.parts {
		if err := s.add(ctx, p, i == len(f.parts)-1); err != nil {
			return nil, err
		}
	}
	if len(f.parts) == 0 && anchor.Seq > 0 {
		_ = s.verifier.Spoil(&Damage{Kind: chain.Cut, Seq: anchor.Seq + 1, Why: "there is no file after those that were removed"})
	}
	_ = s.verifier.End()
	return s, nil
}

// add surveys the next file. Only an end of ctx is an error.
func (s *survey) add(ctx context.Context, p part, last bool) error {
	seg := segment{first: p.first, start: s.verifier.Head(), end: p.size}
	if seg.start.Seq != p.first-1 { // what it is chained to cannot be told
		seg.start = Head{Seq: p.first - 1, Hash: seg.start.Chained()}
	}
	s.segments = append(s.segments, seg)
	s.highest = max(s.highest, p.first)
	err := p.err
	if err == nil {
		err = eachLine(p.file, 0, p.size, func(line rawLine) error { return s.line(ctx, p, line, last && line.last) })
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !s.verifier.Damaged() {
		_ = s.verifier.Spoil(&Damage{Kind: chain.Changed, Seq: s.verifier.Head().Seq + 1, Why: err.Error(), Where: seg.name()})
	}
	return nil
}

// line surveys a line. In a damaged record nothing is cut off.
func (s *survey) line(ctx context.Context, p part, line rawLine, last bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	inPlace := line.number > 1 || p.first == s.verifier.Head().Seq+1
	if last && inPlace && !s.verifier.Damaged() && torn(line) {
		s.tear(p, line)
		return nil
	}
	s.highest = max(s.highest, p.first+int64(line.number)-1)
	var found *Damage
	if err := s.verifier.Add(line.data); errors.As(err, &found) && found.Where == "" {
		found.Where = fmt.Sprintf("%s line %d", segmentName(p.first), line.number)
	}
	return nil
}

// torn says whether the last line is what a kill or a power cut leaves of one that
// was not synced: its beginning, or parts of it with nothing in between. A line
// that is whole but for its text or its place in the chain is another matter. It
// was acknowledged, and it or the one before it was changed since.
func torn(line rawLine) bool {
	return !line.ended || (bytes.IndexByte(line.data, 0) >= 0 && chain.Check(line.data) != nil)
}

func (s *survey) tear(p part, line rawLine) {
	why := "it has no end"
	if line.ended {
		why = "parts of it are missing"
	}
	s.torn = fmt.Sprintf("%s ended in the middle of a line that was never acknowledged: %d bytes at offset %d, %s", segmentName(p.first), p.size-line.offset, line.offset, why)
	s.segments[len(s.segments)-1].end = line.offset
}
