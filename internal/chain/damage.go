package chain

import "fmt"

// Kind is what was done to a record, as far as it can be told.
type Kind string

// The kinds of damage.
const (
	// Changed means a line that is not as it was written.
	Changed Kind = "changed"
	// Removed means lines that are missing, with others after them.
	Removed Kind = "removed"
	// Inserted means a line more than there was.
	Inserted Kind = "inserted"
	// Reordered means lines in another order.
	Reordered Kind = "reordered"
	// Cut means that lines up to a known head are missing at the end.
	Cut Kind = "cut"
	// Forgotten means that a known head is older than the oldest line: the
	// retention removed it, or somebody made it look so.
	Forgotten Kind = "forgotten"
)

// Damage is where a record is not in order. Lines from there on are not vouched
// for, until one with MethodDamaged goes on. It is an error.
type Damage struct {
	Kind Kind
	// Seq is the number of the first line that is wrong.
	Seq int64
	// Why is a sentence for people.
	Why string
	// Where is the place in the files, empty when lines were all there was.
	Where string
	// Sealed is the number of the line that goes on after the damage, 0 when
	// there is none: the agent has not been started since.
	Sealed int64
}

// Error says which line is wrong and why.
func (d *Damage) Error() string {
	text := fmt.Sprintf("audit record: line %d: %s: %s", d.Seq, d.Kind, d.Why)
	if d.Where != "" {
		text += " (" + d.Where + ")"
	}
	if d.Sealed != 0 {
		text += fmt.Sprintf("; the agent found it and went on with line %d", d.Sealed)
	}
	return text
}
