package spec

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Explain writes the table of keys.
func Explain(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tTYPE\tDEFAULT\tMEANING")
	for _, k := range Keys() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", k.Path, k.Type, k.Default, k.Meaning)
	}
	return t.Flush()
}
