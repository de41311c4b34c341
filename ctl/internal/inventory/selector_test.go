package inventory

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// racks is an inventory of a few hosts with labels.
func racks() *Inventory {
	host := func(name, role, zone string, groups ...string) Host {
		h := Host{Name: name, Groups: groups, Labels: map[string]string{"role": role}}
		if zone != "" {
			h.Labels["zone"] = zone
		}
		return h
	}
	return New([]Host{
		host("web-3", "web", "b", "eu"), host("web-1", "web", "a", "eu", "blue"), host("web-2", "web", "b", "us"), host("db-1", "db", "a", "eu"), host("tool", "batch", ""),
	})
}

// sets knows one set, and one that is older than the inventory.
func sets(word, argument string) ([]string, error) {
	switch word + ":" + argument {
	case "failed:R1":
		return []string{"web-3", "db-1"}, nil
	case "failed:R0":
		return []string{"web-9"}, nil
	case "failed:none":
		return nil, nil
	}
	return nil, errors.New("no such rollout")
}

func selectors(t testing.TB, texts ...string) []Selector {
	t.Helper()
	var all []Selector
	for _, text := range texts {
		s, err := ParseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestSelectorsMeanHosts(t *testing.T) {
	for line, want := range map[string]string{
		"":                                "db-1 tool web-1 web-2 web-3",
		"web-1":                           "web-1",
		"web-2,web-1":                     "web-1 web-2",
		"web-*":                           "web-1 web-2 web-3",
		"*-1":                             "db-1 web-1",
		"web-?, !web-2":                   "web-1 web-3",
		"!web-*":                          "db-1 tool",
		"role=web":                        "web-1 web-2 web-3",
		"role=web,zone!=b":                "web-1",
		"role!=web":                       "db-1 tool",
		"zone!=b":                         "db-1 tool web-1",
		"zone=*":                          "db-1 web-1 web-2 web-3",
		"zone!=*":                         "tool",
		"role in (web, db)":               "db-1 web-1 web-2 web-3",
		"role in (d*,batch),zone notin()": "ERROR",
		"role notin (web,db)":             "tool",
		"zone in(a)":                      "db-1 web-1",
		"group=eu":                        "db-1 web-1 web-3",
		"group=eu,group!=blue":            "db-1 web-3",
		"name=web-*":                      "web-1 web-2 web-3",
		"name in (tool,db-1)":             "db-1 tool",
		"web-1,db-1,zone=a,role=web":      "web-1",
		"role=web | db-1":                 "db-1 web-1 web-2 web-3",
		"@failed:R1":                      "db-1 web-3",
		"@failed:R1,role=web":             "web-3",
		"@failed:R1,tool":                 "db-1 tool web-3",
		"role=web / zone=a | tool":        "web-1",
		" / web-1":                        "web-1",
		" / @failed:R1":                   "db-1 web-3",
	} {
		chosen, limit, _ := strings.Cut(line, " / ")
		var c Choice
		c.Sets = sets
		if want == "ERROR" {
			if _, err := ParseSelector(chosen); err == nil {
				t.Errorf("%s is taken", line)
			}
			continue
		}
		if strings.TrimSpace(chosen) != "" {
			c.Hosts = selectors(t, strings.Split(chosen, "|")...)
		}
		if limit != "" {
			c.Limit = selectors(t, strings.Split(limit, "|")...)
		}
		hosts, err := racks().Choose(c)
		if got := strings.Join(New(hosts).names(), " "); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", line, got, err, want)
		}
	}
}

func TestWhatFitsNothingIsAnError(t *testing.T) {
	for line, want := range map[string]string{
		"wbe-1":                       "no host is called wbe-1: did you mean db-1, web-1?",
		"web-1,web-9":                 "no host is called web-9: did you mean web-1, web-2, web-3?",
		"mail":                        "no host is called mail: there are db-1, tool, web-1 and 2 more",
		"mail-*":                      "no host is called mail-*",
		"role=web,!web-33":            "no host is called web-33: did you mean web-3",
		"name notin (web-1,web-x)":    "no host is called web-x",
		"role=wbe":                    "no host fits role=wbe: did you mean web?",
		"rloe=web":                    "no host fits rloe=web: none has the label rloe: did you mean role?",
		"role=web,zone in (c,d)":      "no host fits zone in (c,d): there is a, b",
		"role!=*":                     "no host fits role!=*: all have it",
		"role=db,zone=b":              "no host fits all of role=db,zone=b: each part alone has some",
		"@failed:R1,role=batch":       "no host fits all of @failed:R1,role=batch",
		"@failed:none":                "no host fits all of @failed:none",
		"@failed:R0":                  "@failed:R0 has the host web-9, which the inventory has no longer",
		"@failed:R7":                  "@failed:R7: no such rollout",
		"role=web / role=db":          "the limit role=db leaves none of the hosts of role=web",
		"role=web|zone=a / role=mail": "no host fits role=mail: there is batch, db, web",
	} {
		chosen, limit, limited := strings.Cut(line, " / ")
		c := Choice{Hosts: selectors(t, strings.Split(chosen, "|")...), Sets: sets}
		if limited {
			c.Limit = selectors(t, limit)
		}
		if hosts, err := racks().Choose(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q means %v, %v; want %s", line, hosts, err, want)
		}
	}
	if _, err := racks().Choose(Choice{Hosts: selectors(t, "@failed:R1")}); err == nil || !strings.Contains(err.Error(), "nothing here knows such sets") {
		t.Errorf("%v", err)
	}
	if _, err := New(nil).Choose(Choice{}); err == nil || err.Error() != "the inventory has no hosts" {
		t.Errorf("%v", err)
	}
}

func TestMisspeltSelectors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "an empty part",
		"a,":                                 "an empty part",
		"a,,b":                               "an empty part",
		"a b":                                `"a b" is neither a name nor a condition`,
		"=b":                                 `"" is not a label`,
		"role==web":                          `role: no host can have "=web" there`,
		"role=a b":                           "no host can have",
		"role=(a,b)":                         `no host can have "(a,b)"`,
		"role in (a":                         "a parenthesis is not closed",
		"role in a)":                         "closed that was not opened",
		"role in ((a))":                      "a parenthesis inside of another",
		"role in (a,,b)":                     `no host can have "" there`,
		"role in (a) x":                      "neither a name nor a condition",
		"name=a/b":                           `no host can have "a/b"`,
		"!":                                  "neither a name",
		"!!a":                                "neither a name",
		"@failed":                            `"@failed" is not a set`,
		"@failed:":                           "is not a set",
		"@FAILED:x":                          "is not a set",
		"@failed:a b":                        "is not a set",
		"web-[12]":                           "neither a name",
		"\x00":                               "neither a name",
		strings.Repeat("a", maxSelector+1):   "selector of 65537 bytes",
		strings.Repeat("a,", maxTerms) + "a": "at most 1000 names and values",
		"a in (" + strings.Repeat("a,", maxTerms) + "a)": "at most 1000 names and values",
	} {
		if _, err := ParseSelector(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; want %s", text, err, want)
		}
	}
}

// generated is a selector's text: mostly good, of the words of racks.
func generated(t *rapid.T) string {
	word := rapid.SampledFrom([]string{"web-1", "web-*", "?b-1", "tool", "role", "zone", "web", "db", "a", "b", "group", "name", "*", "eu", "nope"})
	form := rapid.SampledFrom([]string{"A", "!A", "A=B", "A!=B", "A in (B,C)", "A notin ( B )", "@failed:R1", " A = B "})
	parts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
		text := form.Draw(t, "form")
		for _, place := range []string{"A", "B", "C"} {
			text = strings.ReplaceAll(text, place, word.Draw(t, place))
		}
		return text
	}), 1, 4).Draw(t, "parts")
	return strings.Join(parts, ",")
}

// What a selector's text says is what it means.
func TestSelectorsSurviveBeingWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := ParseSelector(generated(t))
		if err != nil {
			t.Skip(err)
		}
		again, err := ParseSelector(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q became %q, %v", s, again, err)
		}
		hosts, err := racks().Choose(Choice{Hosts: []Selector{s}, Sets: sets})
		others, errAgain := racks().Choose(Choice{Hosts: []Selector{again}, Sets: sets})
		if (err == nil) != (errAgain == nil) || !slices.Equal(New(hosts).names(), New(others).names()) {
			t.Fatalf("%q means %v, %v; then %v, %v", s, hosts, err, others, errAgain)
		}
	})
}

// However hosts and selectors are shuffled, the same hosts come in the same order, each
// once; a further selector adds hosts, a limit takes some away.
func TestChoicesAreSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var chosen []Selector
		for range rapid.IntRange(1, 3).Draw(t, "selectors") {
			s, err := ParseSelector(generated(t))
			if err != nil {
				t.Skip(err)
			}
			chosen = append(chosen, s)
		}
		hosts, err := racks().Choose(Choice{Hosts: chosen, Sets: sets})
		shuffled := New(rapid.Permutation(racks().Hosts).Draw(t, "hosts"))
		again, errAgain := shuffled.Choose(Choice{Hosts: rapid.Permutation(chosen).Draw(t, "order"), Sets: sets})
		if (err == nil) != (errAgain == nil) {
			t.Fatalf("%v, then %v", err, errAgain)
		}
		if err != nil {
			return
		}
		names := func(hosts []Host) (all []string) {
			for _, h := range hosts {
				all = append(all, h.Name)
			}
			return all
		}
		got := names(hosts)
		if !slices.Equal(got, names(again)) || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || len(got) == 0 {
			t.Fatalf("%q, then %q", got, names(again))
		}
		first, err := racks().Choose(Choice{Hosts: chosen[:1], Sets: sets})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names(first) {
			if !slices.Contains(got, name) {
				t.Fatalf("%s is lost", name)
			}
		}
		limited, err := racks().Choose(Choice{Hosts: chosen, Limit: chosen[:1], Sets: sets})
		if err != nil || !slices.Equal(names(limited), names(first)) {
			t.Fatalf("limited to %q: %q, %v", names(first), names(limited), err)
		}
	})
}

// The pattern's model is a regular expression.
func TestPatterns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.RuneFrom([]rune("ab*?")), 0, 8, -1).Draw(t, "pattern")
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 10, -1).Draw(t, "text")
		model := regexp.MustCompile(`\A` + strings.NewReplacer("*", ".*", "?", ".").Replace(pattern) + `\z`)
		if got := match(pattern, text); got != model.MatchString(text) {
			t.Fatalf("%q for %q: %v", pattern, text, got)
		}
	})
	long := strings.Repeat("a", 250)
	if match(strings.Repeat("*a", 120)+"b", long) { // exponential, where each * is tried for each
		t.Error("matches")
	}
}

func FuzzParseSelector(f *testing.F) {
	for _, text := range []string{"role=web,zone!=b", "env in (prod, stage)", "web-*,!web-3", "@failed:R1", "a notin (b,c)", "(", ",", "in in (in)", "a=", "!name=a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSelector(text)
		if err != nil {
			return
		}
		again, err := ParseSelector(s.String())
		if err != nil || again.String() != s.String() {
			t.Errorf("%q became %q: %v", text, s, err)
		}
		hosts, err := racks().Choose(Choice{Hosts: []Selector{s}, Sets: sets})
		if (err == nil) == (len(hosts) == 0) {
			t.Errorf("%q means %v and %v", text, hosts, err)
		}
	})
}

// The worst that an operator may ask: a thousand names of ten thousand hosts.
func BenchmarkThousandNames(b *testing.B) {
	i, err := Parse("many.yaml", []byte(hosts(MaxHosts)))
	if err != nil {
		b.Fatal(err)
	}
	s := selectors(b, "web-0"+strings.Repeat(",web-?0?0*", maxTerms-1)+"*")
	s[0].picks[0].values[0] = "web-*"
	for b.Loop() {
		if _, err := i.Choose(Choice{Hosts: s}); err != nil {
			b.Fatal(err)
		}
	}
}
