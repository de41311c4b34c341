package ctl

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

func newCertList(s *session, home func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the certificates that the CA has issued, by name",
		Example: example("gracectl cert list", "gracectl cert list -o json | jq -r '.certificates[] | select(.state == \"valid\").name'"),
		Args:    cobra.NoArgs,
		RunE: s.offline(home, func(_ context.Context, dir string, _ []string) error {
			a, err := ca.Open(dir)
			if err != nil {
				return err
			}
			entries := byName(a.Entries())
			if s.structured() {
				return s.print(listObject(a, entries, time.Now()))
			}
			s.crlWarning(a, time.Now())
			if len(entries) == 0 {
				s.note("no certificates yet: gracectl cert issue")
				return nil
			}
			return s.printTable(certTable(entries, time.Now()))
		}),
	}
}

// byName sorts certificates by name, those of one name by role and end.
func byName(entries []ca.Entry) []ca.Entry {
	return slices.SortedFunc(slices.Values(entries), func(a, b ca.Entry) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Role, b.Role), a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Serial, b.Serial))
	})
}

func listObject(a *ca.Authority, entries []ca.Entry, now time.Time) object {
	all := []object{}
	for _, e := range entries {
		all = append(all, entryObject(e, now))
	}
	return object{{"dir", a.Dir()}, {"trustDomain", a.TrustDomain()}, {"notAfter", timestamp(a.Certificate().NotAfter)}, {"certificates", all}}
}

func entryObject(e ca.Entry, now time.Time) object {
	o := object{
		{"serial", e.Serial},
		{"role", e.Role},
		{"name", e.Name},
		{"hosts", append([]string{}, e.Hosts...)},
		{"notBefore", timestamp(e.NotBefore)},
		{"notAfter", timestamp(e.NotAfter)},
		{"state", string(e.State(now))},
	}
	if e.RevokedAt.IsZero() {
		return o
	}
	return append(o, member{"revokedAt", timestamp(e.RevokedAt)}, member{"reason", e.Reason})
}

func certTable(entries []ca.Entry, now time.Time) *table {
	t := &table{head: []string{"SERIAL", "ROLE", "NAME", "HOSTS", "EXPIRES", "STATE"}}
	for _, e := range entries {
		state := e.State(now)
		t.add(cell{e.Serial[:12], ""}, cell{e.Role, ""}, cell{e.Name, ""}, cell{orDash(strings.Join(e.Hosts, ", ")), ""},
			cell{minute(e.NotAfter), ""}, cell{string(state), certColor(state)})
	}
	return t
}

func certColor(state ca.State) color {
	switch state {
	case ca.Valid:
		return colorGood
	case ca.Revoked:
		return colorBad
	case ca.Expired:
		return colorDim
	}
	return colorWait
}

// crlWarning tells of a list on which nobody can rely.
func (s *session) crlWarning(a *ca.Authority, now time.Time) {
	list, err := a.CRL()
	switch {
	case err != nil:
		s.note("warning: %v", err)
	case list == nil:
		s.note("warning: %s is missing: gracectl cert crl", a.Path(ca.CRLFile))
	case now.After(list.NextUpdate):
		s.note("warning: %s is out of date since %s: gracectl cert crl", list.Path, minute(list.NextUpdate))
	}
}

// minute is a time for people.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
