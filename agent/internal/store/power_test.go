package store

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// disk is what a power cut may leave of the copies of one record: of each file
// what it held when it was last synced, or anything that was written since, or
// parts of both.
type disk struct {
	paths   [copyCount]string
	history [copyCount][][]byte
}

// look notes what was written.
func (d *disk) look() {
	for i, path := range d.paths {
		now, _ := os.ReadFile(path)
		if n := len(d.history[i]); n == 0 || !bytes.Equal(d.history[i][n-1], now) {
			d.history[i] = append(d.history[i], now)
		}
	}
}

// synced notes that a copy is durable as it is.
func (d *disk) synced(i int) {
	d.look()
	d.history[i] = d.history[i][len(d.history[i])-1:]
}

func (d *disk) cut(t *rapid.T) {
	d.look()
	for i, path := range d.paths {
		left := rapid.SampledFrom(d.history[i]).Draw(t, "left")
		if other := rapid.SampledFrom(d.history[i]).Draw(t, "and of"); rapid.Bool().Draw(t, "torn") {
			at := rapid.IntRange(0, min(len(left), len(other))).Draw(t, "at")
			left = append(bytes.Clone(left[:at]), other[at:]...)
		}
		if err := os.WriteFile(path, left, 0o600); err != nil {
			t.Fatal(err)
		}
		d.history[i] = [][]byte{left}
	}
}

// Whatever is written, synced, killed and cut off: an agent's death loses nothing
// that was written, and a power cut nothing that was synced.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "store")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		var s *Store
		d := &disk{}
		written, synced := 0, 0
		load := func() int {
			if s, err = Open(dir, Options{Reserve: -1}); err != nil {
				t.Fatal(err)
			}
			for i := range copyCount {
				d.paths[i] = s.copyPath("web", i)
			}
			records, _, err := s.LoadRecords()
			if err != nil {
				t.Fatal(err)
			}
			if len(records) == 0 {
				return 0
			}
			d.synced(s.knownCopies("web").latest()) // it goes on from there
			n, _ := strconv.Atoi(string(bytes.TrimRight(records[0].Data, "x")))
			return n
		}
		load()
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				data := append(strconv.AppendInt(nil, int64(written+1), 10), bytes.Repeat([]byte("x"), rapid.IntRange(0, 9000).Draw(t, "size"))...)
				if err := s.WriteRecord("web", data); err != nil {
					t.Fatal(err)
				}
				written++
				d.look()
			},
			"sync": func(t *rapid.T) {
				if err := s.SyncRecord("web"); err != nil {
					t.Fatal(err)
				}
				if synced = written; written > 0 {
					d.synced(s.knownCopies("web").latest())
				}
			},
			"kill": func(t *rapid.T) {
				_ = s.Close()
				if n := load(); n != written {
					t.Fatalf("after a kill version %d is found, %d was written", n, written)
				}
				synced = written
			},
			"power cut": func(t *rapid.T) {
				_ = s.Close()
				d.cut(t)
				n := load()
				if n < synced || n > written {
					t.Fatalf("after a power cut version %d is found, %d was written and %d synced", n, written, synced)
				}
				written, synced = n, n
			},
		})
		if err := s.Close(); err != nil {
			t.Fatal(fmt.Errorf("close: %w", err))
		}
	})
}
