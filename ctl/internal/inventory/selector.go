package inventory

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/gracefleet/gracefleet/internal/label"
)

// Bounds of a selector.
const (
	maxSelector = 64 << 10
	maxTerms    = 1000 // names and values, also those in parentheses
)

// Selector says which hosts are meant: by name, by what they are labelled, by what
// happened to them.
type Selector struct {
	picks      []term // names and sets: any of them
	conditions []term // all of them
}

// term is one part of a selector.
type term struct {
	key    string   // label's, label.Name or label.Group; of a set its word
	set    bool     // @WORD:ARGUMENT
	not    bool     // none of the values
	listed bool     // written with in or notin
	values []string // patterns; of a set its argument
}

// What a part may be made of. Patterns are what they match, with * and ?.
var (
	wordForm         = regexp.MustCompile(`\A[a-z][a-z-]{0,31}\z`)
	argumentForm     = regexp.MustCompile(`\A[A-Za-z0-9._:-]{1,128}\z`)
	namePatternForm  = regexp.MustCompile(`\A[A-Za-z0-9._*?-]{1,253}\z`)
	valuePatternForm = regexp.MustCompile(`\A[A-Za-z0-9._:/@+*?-]{0,128}\z`)
	membershipForm   = regexp.MustCompile(`(?s)\A([^\s()=!]+)\s+(in|notin)\s*\((.*)\)\z`)
)

// ParseSelector reads a selector. Parts are separated by commas:
//
//	web-1, web-*       names; of several any
//	@failed:R1         a set that others know, such as what failed in a rollout; as a name
//	role=web, zone!=b  labels; every such part must hold. name and group are keys, too
//	env in (a, b*)     any of several; env notin (a, b): none
//	!web-3             not this name
//
// In names and values * stands for any text and ? for one character. A host without a
// label fits zone!=b; role=* is any host that has the label.
func ParseSelector(text string) (Selector, error) {
	var s Selector
	if len(text) > maxSelector {
		return s, fmt.Errorf("selector of %d bytes: at most %d", len(text), maxSelector)
	}
	parts, err := parts(text)
	if err != nil {
		return s, fmt.Errorf("selector %q: %w", text, err)
	}
	count := 0
	for _, part := range parts {
		t, err := parseTerm(strings.TrimSpace(part))
		if err != nil {
			return Selector{}, fmt.Errorf("selector %q: %w", text, err)
		}
		if count += len(t.values); count > maxTerms {
			return Selector{}, fmt.Errorf("a selector has at most %d names and values: use a label or a group instead", maxTerms)
		}
		if t.set || t.key == label.Name && !t.not {
			s.picks = append(s.picks, t)
		} else {
			s.conditions = append(s.conditions, t)
		}
	}
	return s, nil
}

// parts are what commas outside of parentheses separate.
func parts(text string) ([]string, error) {
	var all []string
	begin, inside := 0, false
	for i, c := range []byte(text) {
		switch {
		case c == '(' && inside:
			return nil, errors.New("a parenthesis inside of another")
		case c == ')' && !inside:
			return nil, errors.New("a parenthesis is closed that was not opened")
		case c == '(', c == ')':
			inside = c == '('
		case c == ',' && !inside:
			all, begin = append(all, text[begin:i]), i+1
		}
	}
	if inside {
		return nil, errors.New("a parenthesis is not closed")
	}
	return append(all, text[begin:]), nil
}

func parseTerm(part string) (term, error) {
	if part == "" {
		return term{}, errors.New("an empty part: want a name, KEY=VALUE, KEY!=VALUE or KEY in (A, B)")
	}
	if rest, ok := strings.CutPrefix(part, "@"); ok {
		return parseSet(rest)
	}
	if m := membershipForm.FindStringSubmatch(part); m != nil {
		return parseCondition(m[1], strings.Split(m[3], ","), m[2] == "notin", true)
	}
	if key, value, ok := strings.Cut(part, "="); ok {
		key, not := strings.CutSuffix(key, "!")
		return parseCondition(strings.TrimSpace(key), []string{value}, not, false)
	}
	name, not := strings.CutPrefix(part, "!")
	if !namePatternForm.MatchString(name) {
		return term{}, fmt.Errorf("%q is neither a name nor a condition: want a name, KEY=VALUE, KEY!=VALUE or KEY in (A, B)", part)
	}
	return term{key: label.Name, not: not, values: []string{name}}, nil
}

func parseSet(text string) (term, error) {
	word, argument, ok := strings.Cut(text, ":")
	if !ok || !wordForm.MatchString(word) || !argumentForm.MatchString(argument) {
		return term{}, fmt.Errorf("%q is not a set: want @WORD:NAME, such as @failed:ROLLOUT", "@"+text)
	}
	return term{key: word, set: true, values: []string{argument}}, nil
}

func parseCondition(key string, values []string, not, listed bool) (term, error) {
	if !label.ValidKey(key) {
		return term{}, fmt.Errorf("%q is not a label: use letters, digits, and . _ - / between them", key)
	}
	form := valuePatternForm
	if key == label.Name {
		form = namePatternForm
	}
	for i, v := range values {
		values[i] = strings.TrimSpace(v)
		if !form.MatchString(values[i]) || listed && values[i] == "" {
			return term{}, fmt.Errorf("%s: no host can have %q there", key, v)
		}
	}
	return term{key: key, not: not, listed: listed, values: values}, nil
}

// String is a text that is read as the same selector.
func (s Selector) String() string {
	var all []string
	for _, t := range s.picks {
		all = append(all, t.String())
	}
	for _, t := range s.conditions {
		all = append(all, t.String())
	}
	return strings.Join(all, ",")
}

func (t term) String() string {
	values := strings.Join(t.values, ",")
	switch {
	case t.set:
		return "@" + t.key + ":" + values
	case t.listed && t.not:
		return t.key + " notin (" + values + ")"
	case t.listed:
		return t.key + " in (" + values + ")"
	case t.not:
		return t.key + "!=" + values
	case t.key == label.Name:
		return values // as it is written mostly
	}
	return t.key + "=" + values
}
