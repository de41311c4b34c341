package audit

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// countingReader counts the bytes that were read.
type countingReader struct {
	io.ReaderAt
	bytes int
}

func (c *countingReader) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, at)
	c.bytes += n
	return n, err
}

// Whoever follows a record reads what is new, not all that there is again; nothing is
// left out, however long the lines are.
func TestSeek(t *testing.T) {
	var file []byte
	var starts []int64
	for i := range 2000 {
		e := stop(strings.Repeat("x", i%700))
		if i%97 == 0 {
			e.Detail = map[string]string{"a": strings.Repeat("\x01", chain.MaxText), "b": strings.Repeat("\x01", chain.MaxText)}
		}
		e.Seq, e.Prev = int64(i+11), chain.Head{}.Chained()
		starts = append(starts, int64(len(file)))
		file = append(append(file, chain.Encode(e)...), '\n')
	}
	size := int64(len(file))
	for after := int64(0); after < 2015; after++ {
		r := &countingReader{ReaderAt: bytes.NewReader(file)}
		from := seek(r, size, after)
		next := int(max(after-10, 0)) // the one to be read
		if !slices.Contains(starts, from) || (next < len(starts) && from > starts[next]) {
			t.Fatalf("after %d it goes on at %d", after, from)
		}
		if next < len(starts) && starts[next]-from > 16*seekStep || r.bytes > 20*seekStep {
			t.Fatalf("after %d: %d bytes were read, and %d are read in vain", after, r.bytes, starts[next]-from)
		}
	}
	if from := seek(bytes.NewReader(bytes.Repeat([]byte("x\n"), 1<<20)), 2<<20, 5); from != 0 {
		t.Errorf("no record: %d", from)
	}
}

func TestReadAfter(t *testing.T) {
	l, _ := openAt(t, t.TempDir()+"/audit", Options{MaxBytes: 20 << 10})
	mustAppend(t, l, 200)
	for after := range int64(202) {
		if got := numbers(t, l, after); !slices.Equal(got, upTo(after+1, 200)) {
			t.Fatalf("after %d: %v", after, got)
		}
	}
}
