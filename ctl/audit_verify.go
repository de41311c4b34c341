package ctl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/chain"
)

func newAuditVerify(s *session) *cobra.Command {
	var known string
	var head chain.Head
	cmd := &cobra.Command{
		Use:   "verify [FILE...]",
		Short: "Check that no line of the record was changed, removed or added",
		Long: "Checks the chain of the agent's record, or of files with its lines, without an agent:\n" +
			"those of STATE_DIR/audit, or of audit list --raw. It prints the head, which vouches for\n" +
			"all lines before: kept elsewhere and given with --known, it shows as well when somebody\n" +
			"has rewritten the whole record, or cut off its end. The agent's own log has a head with\n" +
			"each line. Exit code 1 when something is wrong.",
		Example: example("gracectl audit verify", "gracectl audit verify --known 1290:9f86d081884c7d65...", "gracectl audit verify audit-*.jsonl"),
		PreRunE: func(*cobra.Command, []string) error {
			var err error
			head, err = parseHead(known)
			return err
		},
	}
	cmd.Flags().StringVar(&known, "known", "", "head that the record must have, as an earlier audit verify printed it")
	fromAgent := s.withAgent(func(ctx context.Context, c *client, _ []string) error {
		v := &auditVerifier{known: head}
		err := c.readAudit(ctx, &pb.ReadAuditRequest{}, func(first *pb.ReadAuditResponse) {
			v.begin(chain.Head{Seq: first.GetAnchor().GetSequence(), Hash: first.GetAnchor().GetHash()})
		}, func(l auditLine) error {
			v.add(l.raw)
			return nil
		})
		if err != nil {
			return err
		}
		return s.verdict(v)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fromAgent(cmd, args)
		}
		v := &auditVerifier{known: head}
		if err := v.files(args); err != nil {
			return err
		}
		return s.verdict(v)
	}
	return cmd
}

// parseHead reads LINE:HASH.
func parseHead(text string) (chain.Head, error) {
	if text == "" {
		return chain.Head{}, nil
	}
	number, hash, _ := strings.Cut(text, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil || seq < 1 || !chain.IsHash(hash) {
		return chain.Head{}, usage("--known %q: want LINE:HASH, as audit verify prints it", text)
	}
	return chain.Head{Seq: seq, Hash: hash}, nil
}

func headText(h chain.Head) string { return fmt.Sprintf("%d:%s", h.Seq, h.Chained()) }

// auditVerifier checks lines as they come, whatever record they are of.
type auditVerifier struct {
	known    chain.Head
	from     chain.Head
	verifier *chain.Verifier
	lines    int
}

func (v *auditVerifier) begin(from chain.Head) {
	v.from, v.verifier = from, chain.NewVerifier(from, v.known)
}

func (v *auditVerifier) add(line []byte) {
	v.lines++
	if v.verifier == nil { // what was before the first line, nothing but that line says
		e, _ := chain.Decode(line)
		v.begin(chain.Head{Seq: max(e.Seq-1, 0), Hash: e.Prev})
	}
	_ = v.verifier.Add(line) // it remembers
}

// files checks the lines of files in the order of their names, which is that of
// the lines.
func (v *auditVerifier) files(names []string) error {
	for _, name := range slices.Sorted(slices.Values(names)) {
		if err := v.file(name); err != nil {
			return err
		}
	}
	return nil
}

func (v *auditVerifier) file(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, chain.MaxLine+1)
	lines.Split(wholeLines)
	for lines.Scan() {
		v.add(lines.Bytes())
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%s: a line has more than %d bytes: it is no audit record", name, chain.MaxLine)
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// wholeLines is bufio.ScanLines without its taking a \r for part of the line's end: it
// would be a change.
func wholeLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// verdict says what was found, and is an error if that is damage.
func (s *session) verdict(v *auditVerifier) error {
	if v.verifier == nil {
		v.begin(chain.Head{})
	}
	_ = v.verifier.End() // it remembers
	damages := v.verifier.Damages()
	if err := s.printVerdict(v, damages); err != nil {
		return err
	}
	if len(damages) > 0 {
		return &exitError{code: ExitError}
	}
	return nil
}

func (s *session) printVerdict(v *auditVerifier, damages []*chain.Damage) error {
	head := v.verifier.Head()
	if s.structured() {
		found := []object{}
		for _, d := range damages {
			found = append(found, object{{"kind", string(d.Kind)}, {"line", d.Seq}, {"why", d.Why}, {"sealed", d.Sealed}})
		}
		return s.print(object{{"ok", len(damages) == 0}, {"lines", v.lines}, {"first", v.from.Seq + 1}, {"head", headText(head)}, {"damages", found}})
	}
	for _, d := range damages {
		s.say("%s", visible(d.Error()))
	}
	switch {
	case len(damages) > 0:
		s.say("the record is NOT in order: %d lines, vouched for up to line %d", v.lines, head.Seq)
	case v.lines == 0:
		s.say("in order: no lines yet")
	default:
		s.say("in order: %d lines, from %d to %d", v.lines, v.from.Seq+1, head.Seq)
	}
	_, err := io.WriteString(s.stdio.Out, "head "+headText(head)+"\n")
	return err
}
