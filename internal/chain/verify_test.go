package chain

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func verify(lines [][]byte, from, known Head) (Head, []*Damage) {
	return Verify(slices.Values(lines), from, known)
}

// sealed is the line with which an agent goes on after good.
func sealed(seq int64, good Head) []byte {
	return Encode(Entry{Seq: seq, Time: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), Method: MethodDamaged, Decision: Allowed, Prev: good.Chained()})
}

func clone(lines [][]byte) [][]byte {
	copied := make([][]byte, len(lines))
	for i, line := range lines {
		copied[i] = bytes.Clone(line)
	}
	return copied
}

func timeOf(line []byte) time.Time {
	e, _ := Decode(line)
	return e.Time
}

func TestTampering(t *testing.T) {
	whole := record(t, 10)
	head := headOf(10, whole[9])
	type tampered struct {
		name   string
		change func([][]byte) [][]byte
		kind   Kind
		seq    int64
		good   int64 // last line in order
	}
	for _, c := range []tampered{
		{"nothing", func(l [][]byte) [][]byte { return l }, "", 0, 10},
		{"a text", func(l [][]byte) [][]byte { l[4] = bytes.Replace(l[4], []byte("alice"), []byte("mallo"), 1); return l }, Changed, 5, 4},
		{"the last text", func(l [][]byte) [][]byte { l[9] = bytes.Replace(l[9], []byte("alice"), []byte("mallo"), 1); return l }, Changed, 10, 9},
		{"a hash", func(l [][]byte) [][]byte { l[4] = bytes.Replace(l[4], []byte(Hash(l[3])), []byte(zeros), 1); return l }, Changed, 5, 3},
		{"the last hash", func(l [][]byte) [][]byte { l[9] = bytes.Replace(l[9], []byte(Hash(l[8])), []byte(zeros), 1); return l }, Changed, 9, 8},
		{"the first hash", func(l [][]byte) [][]byte { l[0] = bytes.Replace(l[0], []byte(zeros), []byte(Hash(nil)), 1); return l }, Changed, 1, 0},
		{"a number", func(l [][]byte) [][]byte { l[4] = bytes.Replace(l[4], []byte(":5,"), []byte(":6,"), 1); return l }, Removed, 5, 4},
		{"garbage", func(l [][]byte) [][]byte { l[4] = []byte("garbage"); return l }, Changed, 5, 4},
		{"one removed", func(l [][]byte) [][]byte { return slices.Delete(l, 4, 5) }, Removed, 5, 4},
		{"the first removed", func(l [][]byte) [][]byte { return l[1:] }, Removed, 1, 0},
		{"the tail cut", func(l [][]byte) [][]byte { return l[:7] }, Cut, 8, 7},
		{"all cut", func([][]byte) [][]byte { return nil }, Cut, 1, 0},
		{"two swapped", func(l [][]byte) [][]byte { l[4], l[5] = l[5], l[4]; return l }, Reordered, 5, 4},
		{"moved up", func(l [][]byte) [][]byte { return slices.Concat(l[:2], l[7:8], l[2:7], l[8:]) }, Reordered, 3, 2},
		{"moved down", func(l [][]byte) [][]byte { return slices.Concat(l[:2], l[3:8], l[2:3], l[8:]) }, Reordered, 3, 2},
		{"one twice", func(l [][]byte) [][]byte { return slices.Insert(l, 5, l[4]) }, Inserted, 5, 5},
		{"an old one again", func(l [][]byte) [][]byte { return slices.Insert(l, 8, l[2]) }, Inserted, 9, 8},
		{"one added", func(l [][]byte) [][]byte {
			return slices.Insert(l, 5, Encode(Entry{Seq: 6, Time: timeOf(l[4]), Decision: Allowed, Prev: Hash(l[4])}))
		}, Inserted, 6, 5},
		{"one added and another renumbered", func(l [][]byte) [][]byte {
			l[5] = bytes.Replace(l[5], []byte(":6,"), []byte(":7,"), 1)
			return slices.Insert(l, 5, Encode(Entry{Seq: 6, Time: timeOf(l[4]), Decision: Allowed, Prev: Hash(l[4])}))
		}, Changed, 6, 5},
		{"rewritten to the end", func(l [][]byte) [][]byte {
			for i := 4; i < 10; i++ {
				e, _ := Decode(l[i])
				e.Actor, e.Prev = "mallory", Hash(l[i-1])
				l[i] = Encode(e)
			}
			return l
		}, Changed, 10, 9},
		{"back in time", func(l [][]byte) [][]byte {
			for i := 4; i < 10; i++ {
				e, _ := Decode(l[i])
				e.Time, e.Prev = e.Time.AddDate(-1, 0, 0), Hash(l[i-1])
				l[i] = Encode(e)
			}
			return l
		}, Changed, 5, 4},
	} {
		last, damages := verify(c.change(clone(whole)), Head{}, head)
		switch {
		case last.Seq != c.good:
			t.Errorf("%s: head %v, want %d (%v)", c.name, last, c.good, damages)
		case c.kind == "" && len(damages) > 0:
			t.Errorf("%s: %v", c.name, damages)
		case c.kind == "":
		case len(damages) != 1 || damages[0].Kind != c.kind || damages[0].Seq != c.seq:
			t.Errorf("%s: found %v, want %s at %d", c.name, damages, c.kind, c.seq)
		default:
			t.Logf("%s: %v", c.name, damages[0])
		}
	}
}

// Every flipped byte is found, in the line where it is or, when only the next one
// could tell, in one of the two.
func TestEveryFlippedByte(t *testing.T) {
	whole := record(t, 6)
	head := headOf(6, whole[5])
	for i := range whole {
		for at := range whole[i] {
			for bit := range 8 {
				lines := clone(whole)
				lines[i][at] ^= 1 << bit
				last, damages := verify(lines, Head{}, head)
				seq := int64(i + 1)
				if len(damages) != 1 || damages[0].Seq < seq-1 || damages[0].Seq > seq || last.Seq >= seq {
					t.Fatalf("line %d byte %d bit %d: head %v, %v", seq, at, bit, last, damages)
				}
			}
		}
	}
}

func TestRetention(t *testing.T) {
	whole := record(t, 10)
	from := headOf(4, whole[3])
	for _, c := range []struct {
		name  string
		lines [][]byte
		from  Head
		known Head
		kind  Kind
	}{
		{"in order", whole[4:], from, headOf(10, whole[9]), ""},
		{"nothing known", whole[4:], from, Head{}, ""},
		{"the last one removed is known", whole[4:], from, from, ""},
		{"another one was removed", whole[4:], from, headOf(4, whole[5]), Changed},
		{"an older one is known", whole[4:], from, headOf(2, whole[1]), Forgotten},
		{"one more removed", whole[5:], from, Head{}, Removed},
		{"another anchor", whole[4:], headOf(4, whole[5]), Head{}, Changed},
		{"nothing left", nil, from, Head{}, ""},
		{"nothing left but known", nil, from, headOf(10, whole[9]), Cut},
	} {
		_, damages := verify(c.lines, c.from, c.known)
		if (c.kind == "" && len(damages) > 0) || (c.kind != "" && (len(damages) != 1 || damages[0].Kind != c.kind)) {
			t.Errorf("%s: %v, want %s", c.name, damages, c.kind)
		}
	}
}

// After a damage the agent goes on; what is wrong later is told, too.
func TestGoingOn(t *testing.T) {
	l := record(t, 10)
	lines := clone(l[:6])
	lines[3] = []byte("garbage")
	good := headOf(3, l[2])
	seal := sealed(7, good)
	next := Encode(Entry{Seq: 8, Time: timeOf(seal), Decision: Allowed, Prev: Hash(seal)})
	lines = append(lines, seal, next, l[2])
	v := NewVerifier(Head{}, Head{})
	var wrong []int
	for i, line := range lines {
		var d *Damage
		if err := v.Add(line); err != nil {
			wrong = append(wrong, i+1)
			if !errors.As(err, &d) {
				t.Errorf("line %d: %v", i+1, err)
			}
		}
	}
	if !slices.Equal(wrong, []int{4, 5, 6, 9}) || v.Head() != headOf(8, next) {
		t.Errorf("wrong are %v, head %v", wrong, v.Head())
	}
	all := v.Damages()
	if len(all) != 2 || all[0].Seq != 4 || all[0].Sealed != 7 || all[1].Kind != Inserted || all[1].Sealed != 0 {
		t.Errorf("damages %v", all)
	}
	if !strings.Contains(all[0].Error(), "line 4: changed") || !strings.Contains(all[0].Error(), "went on with line 7") {
		t.Errorf("it says %q", all[0])
	}
	// What is not chained to the last line in order is no such line.
	lines[6] = sealed(7, headOf(2, l[1]))
	if _, damages := verify(lines, Head{}, Head{}); len(damages) != 1 || damages[0].Sealed != 0 {
		t.Errorf("a line chained elsewhere: %v", damages)
	}
	// The damaged lines may be gone.
	lines[6] = seal
	if head, damages := verify(append(lines[:3:3], seal), Head{}, Head{}); len(damages) != 1 || damages[0].Kind != Removed || damages[0].Sealed != 7 || head.Seq != 7 {
		t.Errorf("damaged lines gone: %v, %v", head, damages)
	}
}

// Whatever is done to a record, a known head finds it.
func TestAnyTampering(t *testing.T) {
	whole := record(t, 12)
	head := headOf(12, whole[11])
	rapid.Check(t, func(t *rapid.T) {
		lines := clone(whole)
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			if len(lines) == 0 {
				break
			}
			i, j := rapid.IntRange(0, len(lines)-1).Draw(t, "i"), rapid.IntRange(0, len(lines)-1).Draw(t, "j")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				lines = slices.Delete(lines, i, i+1)
			case 1:
				lines = slices.Insert(lines, i, bytes.Clone(lines[j]))
			case 2:
				lines[i], lines[j] = lines[j], lines[i]
			case 3:
				lines = lines[:i]
			case 4:
				at := rapid.IntRange(0, len(lines[i])).Draw(t, "at")
				lines[i] = append(lines[i][:at:at], lines[j][min(at, len(lines[j])):]...)
			}
		}
		last, damages := verify(lines, Head{}, head)
		same := slices.EqualFunc(lines, whole, bytes.Equal)
		if same != (len(damages) == 0) || same != (last == head) {
			t.Fatalf("same %v, head %v, damages %v", same, last, damages)
		}
	})
}

// Only what was written passes, whatever else the verifier is given.
func FuzzVerifier(f *testing.F) {
	whole := record(f, 4)
	head := headOf(4, whole[3])
	f.Add(bytes.Join(whole, []byte("\n")))
	f.Add(bytes.Join(slices.Concat(whole[:2], [][]byte{sealed(5, headOf(1, whole[0]))}), []byte("\n")))
	f.Add([]byte("{\"seq\":1,\"time\":\"\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := bytes.Split(data, []byte("\n"))
		last, damages := verify(lines, Head{}, head)
		if same := slices.EqualFunc(lines[:min(len(lines), 4)], whole, bytes.Equal); len(damages) == 0 && !same {
			t.Fatalf("passed, head %v: %q", last, data)
		}
		for _, d := range damages {
			if d.Seq < 1 || d.Error() == "" {
				t.Fatalf("%+v", d)
			}
		}
		for _, line := range lines {
			e, err := Decode(line)
			if err == nil && (e.Seq < 1 || e.Time.Location().String() != "UTC" || !IsHash(e.Prev)) {
				t.Fatalf("decoded %+v from %q", e, line)
			}
		}
	})
}
