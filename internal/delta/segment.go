package delta

// Segment is how many bytes of an artifact one frame holds; the last one holds the
// rest. margin is how far beyond its own place a segment may refer to the base.
const (
	Segment = 8 << 20
	margin  = Segment / 2
)

// span is the part of a base that is the dictionary of segment number n; empty when
// the base ends before.
func span(n, baseSize int64) (from, to int64) {
	to = min((n+1)*Segment+margin, baseSize)
	from = min(max(n*Segment-margin, 0), to)
	return from, to
}

// dictionary is the id under which a frame names it. 0 means none.
func dictionary(n int64) uint32 { return uint32(n) + 1 }
