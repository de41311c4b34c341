package audit

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// model is a record on a disk that fails, and what was acknowledged.
type model struct {
	disk    *fakeDisk
	log     *Log
	options Options
	told    []string
	acked   []Head
}

func (m *model) open(t *rapid.T) {
	var err error
	if m.log, err = open(m.disk, m.options); err != nil {
		t.Fatal(err)
	}
	if d := m.log.Damages(); len(d) > 0 {
		t.Fatalf("nobody touched it: %v", d)
	}
}

func (m *model) append(t *rapid.T) {
	head, err := m.log.Append(Entry{Actor: rapid.StringN(0, 200, -1).Draw(t, "actor"), Decision: chain.Denied})
	if err == nil {
		m.acked = append(m.acked, head)
		return
	}
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if m.disk.fail == nil || errors.Is(err, ErrFull) != full {
		t.Fatalf("append: %v", err)
	}
}

// check finds all that was acknowledged and is kept, in a chain. More may be there
// after a crash: lines that were written and not acknowledged.
func (m *model) check(t *rapid.T) {
	var known Head
	if len(m.acked) > 0 {
		known = m.acked[len(m.acked)-1]
	}
	head, damages, err := m.log.Verify(context.Background(), known)
	if err != nil || len(damages) > 0 || head != m.log.Head() {
		t.Fatalf("head %v, %v, acknowledged %v; damages %v, %v", head, m.log.Head(), known, damages, err)
	}
	there := map[int64]string{}
	first := int64(0)
	err = m.log.Read(context.Background(), 0, func(line []byte, e Entry) error {
		if first == 0 {
			first = e.Seq
		}
		there[e.Seq] = chain.Hash(line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range m.acked {
		if h.Seq >= first && there[h.Seq] != h.Hash {
			t.Fatalf("line %v was acknowledged and is lost: %q", h, there[h.Seq])
		}
	}
	m.enough(t, int64(len(there)))
}

// enough: retention removes no more than it should.
func (m *model) enough(t *rapid.T, lines int64) {
	files := 0
	for name := range m.disk.now {
		if _, ok := segmentOf(name); ok {
			files++
		}
	}
	if lines < m.log.Head().Seq && files < m.options.Keep {
		t.Fatalf("%d files are kept, of %d lines there are %d", files, m.log.Head().Seq, lines)
	}
}

// Whatever is written, refused, killed and cut off: nothing that was acknowledged is
// lost, and the chain holds.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{disk: newFakeDisk()}
		m.options = Options{
			MaxBytes: rapid.SampledFrom([]int64{1, 500, 1000, 3000}).Draw(t, "size"),
			Keep:     rapid.IntRange(1, 4).Draw(t, "keep"),
			OnRepair: func(text string) { m.told = append(m.told, text) },
		}
		m.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"append": m.append,
			"append with a fault": func(t *rapid.T) {
				m.disk.fail = fails(t)
				for range rapid.IntRange(1, 4).Draw(t, "lines") {
					m.append(t)
				}
				m.disk.fail = nil
			},
			"kill": func(t *rapid.T) {
				m.open(t)
				m.check(t)
			},
			"kill while it fails": func(t *rapid.T) {
				m.disk.fail = fails(t)
				m.open(t)
				m.append(t)
				m.disk.fail = nil
			},
			"power cut": func(t *rapid.T) {
				m.disk.cut(t)
				m.open(t)
				m.check(t)
			},
			"close": func(t *rapid.T) {
				if err := m.log.Close(); err != nil {
					t.Fatal(err)
				}
				told := len(m.told)
				m.open(t)
				if len(m.told) > told && m.disk.fail == nil {
					t.Logf("told %q", m.told[told:])
				}
				m.check(t)
			},
			"": m.check,
		})
	})
}

// A fault at every single operation, each of every kind of error: what was refused
// is not there, and the next line is.
func TestEveryFault(t *testing.T) {
	for at := range 40 {
		for _, fault := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
			for _, length := range []int{1, 2, 3} { // in a row
				disk := newFakeDisk()
				l, err := open(disk, Options{MaxBytes: 500, Keep: 2})
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				disk.fail = func(string) error {
					if n++; n > at && n <= at+length {
						return fault
					}
					return nil
				}
				acked := int64(0)
				for range 12 {
					before := l.Head()
					head, err := l.Append(stop("alice"))
					switch {
					case err == nil:
						acked++
					case !errors.Is(err, fault) || errors.Is(err, ErrFull) == errors.Is(fault, syscall.EIO):
						t.Fatalf("fault %d: %v", at, err)
					case l.Head() != before || head != (Head{}):
						t.Fatalf("fault %d: refused, and head %v after %v", at, l.Head(), before)
					}
				}
				if acked < 12-int64(length) || l.Head().Seq != acked {
					t.Fatalf("fault %d: head %v after %d lines", at, l.Head(), acked)
				}
				if _, damages, err := l.Verify(t.Context(), l.Head()); err != nil || len(damages) > 0 {
					t.Fatalf("fault %d: %v, %v", at, damages, err)
				}
			}
		}
	}
}
