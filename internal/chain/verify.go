package chain

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// Verifier checks lines as they come: their form, numbers, chain and times. It is
// for one goroutine.
type Verifier struct {
	from  Head // before the first line to come
	known Head

	last   link // the last line that is in order
	before link // the one before it, to fall back to

	damages []*Damage
	open    *Damage // lines are passed over: they are not vouched for
	doubt   link    // the line that did not fit, to tell who of two was changed
}

// link is a line of the chain.
type link struct {
	Head
	time string
}

// NewVerifier expects the lines after from, the zero Head for a record from its
// first line on. Known, if not zero, is a head somebody kept: the record must have
// that very line.
func NewVerifier(from, known Head) *Verifier {
	v := &Verifier{from: from, known: known, last: link{Head: from}}
	v.before = v.last
	return v
}

// Verify checks all lines after from, and that they reach known if that is not
// zero. The Head is that of the last line that is in order.
func Verify(lines iter.Seq[[]byte], from, known Head) (Head, []*Damage) {
	v := NewVerifier(from, known)
	for line := range lines {
		_ = v.Add(line) // noted
	}
	_ = v.End()
	return v.Head(), v.Damages()
}

// Head is that of the last line in order. The hash of a line is held up by the
// line after it: nothing but a known head vouches for the last one.
func (v *Verifier) Head() Head { return v.last.Head }

// Time is when the last line in order was written, zero when there was none.
func (v *Verifier) Time() time.Time {
	at, _ := time.Parse(TimeFormat, v.last.time)
	return at
}

// Damages are all that were found, the first one first. What follows a damage may
// make its Kind and Seq more exact, and sets Sealed.
func (v *Verifier) Damages() []*Damage { return slices.Clone(v.damages) }

// Damaged says whether lines are passed over now, because something before them is
// wrong.
func (v *Verifier) Damaged() bool { return v.open != nil }

// Add takes the next line, without its newline. It returns a *Damage for a line
// that is not in order, and again for each that follows, until a line of
// MethodDamaged goes on.
func (v *Verifier) Add(line []byte) error {
	f, err := frameOf(line)
	this := link{Head: Head{Seq: f.seq, Hash: Hash(line)}, time: f.time}
	if v.open != nil {
		return v.passOver(line, f, this, err)
	}
	damage := v.check(f, this, err)
	switch {
	case damage == nil:
		v.accept(this)
		return nil
	case err == nil && v.goesOn(line, f, this): // what it is about is gone
		v.seal(this)
	}
	return damage
}

// check says what is wrong with the next line.
func (v *Verifier) check(f frame, this link, formErr error) error {
	next := v.last.Seq + 1
	switch {
	case formErr != nil:
		return v.Spoil(&Damage{Kind: Changed, Seq: next, Why: formErr.Error()})
	case f.seq > next:
		return v.Spoil(&Damage{Kind: Removed, Seq: next, Why: fmt.Sprintf("line %d follows on line %d", f.seq, v.last.Seq)})
	case f.seq < next:
		return v.inserted(f, this)
	case f.prev != v.last.Chained():
		return v.mismatch(this)
	case f.time < v.last.time:
		return v.Spoil(&Damage{Kind: Changed, Seq: f.seq, Why: fmt.Sprintf("its time, %s, is before that of the line before, %s", f.time, v.last.time)})
	case v.belies(this):
		return v.Spoil(&Damage{Kind: Changed, Seq: f.seq, Why: fmt.Sprintf("its hash is %s, known is %s: it or any line before it was rewritten", this.Hash, v.known.Hash)})
	}
	return nil
}

// belies says whether somebody knows another line of that number.
func (v *Verifier) belies(this link) bool {
	return this.Seq == v.known.Seq && this.Hash != v.known.Hash
}

func (v *Verifier) accept(l link) { v.before, v.last = v.last, l }

// Spoil notes a damage that is not in a line, such as a file that cannot be read.
// Lines are passed over from now on. It returns the damage.
func (v *Verifier) Spoil(d *Damage) error {
	v.open = d
	v.damages = append(v.damages, d)
	return d
}

// mismatch: the line is not chained to the one before it. One of the two was
// changed; which, the next line knows. Neither is vouched for.
func (v *Verifier) mismatch(this link) error {
	v.doubt = this
	if v.last == v.before {
		return v.Spoil(&Damage{Kind: Changed, Seq: this.Seq, Why: "it does not follow on what was before it"})
	}
	changed := v.last.Seq
	v.last = v.before
	return v.Spoil(&Damage{Kind: Changed, Seq: changed, Why: fmt.Sprintf("line %d was chained to another one", this.Seq)})
}

// inserted: a number that was there already. If it is that of the line before,
// either of the two may be the one that was added.
func (v *Verifier) inserted(f frame, this link) error {
	if f.seq < v.last.Seq {
		return v.Spoil(&Damage{Kind: Inserted, Seq: v.last.Seq + 1, Why: fmt.Sprintf("line %d is in its place", f.seq)})
	}
	if this.Hash != v.last.Hash {
		v.last = v.before
	}
	return v.Spoil(&Damage{Kind: Inserted, Seq: f.seq, Why: "there is more than one line of that number"})
}

// passOver looks at a line after a damage: for the one that goes on, and for what
// it tells of the damage.
func (v *Verifier) passOver(line []byte, f frame, this link, formErr error) error {
	switch {
	case formErr != nil:
	case v.goesOn(line, f, this):
		v.seal(this)
		return nil
	case v.open.Kind == Removed && f.seq == v.open.Seq && f.prev == v.last.Chained():
		v.open.Kind, v.open.Why = Reordered, "it comes after lines that it was before"
	case v.doubt.Seq != 0 && f.seq == v.doubt.Seq+1 && f.prev != v.doubt.Hash:
		v.open.Seq, v.open.Why = v.doubt.Seq, "neither the line before nor the one after fits it"
	}
	v.doubt = link{} // the line right after it is the one that knows
	return v.open
}

// goesOn says whether the line is the agent's, which found the damage.
func (v *Verifier) goesOn(line []byte, f frame, this link) bool {
	if f.seq <= v.last.Seq || f.prev != v.last.Chained() || f.time < v.last.time || v.belies(this) {
		return false
	}
	e, err := Decode(line)
	return err == nil && e.Method == MethodDamaged && e.Decision == Allowed // a caller may name such a method, in vain
}

func (v *Verifier) seal(this link) {
	v.open.Sealed = this.Seq
	v.open, v.doubt = nil, link{}
	v.accept(this)
}

// End is called after the last line. It returns a *Damage if the known head was
// not reached, or cannot be any more.
func (v *Verifier) End() error {
	switch {
	case v.known.Seq == 0 || v.open != nil:
		return nil
	case v.known.Seq > v.last.Seq:
		return v.Spoil(&Damage{Kind: Cut, Seq: v.last.Seq + 1, Why: fmt.Sprintf("the last line is %d, known is %d", v.last.Seq, v.known.Seq)})
	case v.known.Seq < v.from.Seq:
		return v.Spoil(&Damage{Kind: Forgotten, Seq: v.known.Seq, Why: fmt.Sprintf("the oldest line kept is %d: whether line %d was as known cannot be told", v.from.Seq+1, v.known.Seq)})
	case v.known.Seq == v.from.Seq && v.known.Hash != v.from.Hash:
		return v.Spoil(&Damage{Kind: Changed, Seq: v.known.Seq, Why: fmt.Sprintf("its hash was %s when it was removed, known is %s", v.from.Hash, v.known.Hash)})
	}
	return nil
}
