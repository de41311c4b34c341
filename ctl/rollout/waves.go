package rollout

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxWaves bounds what is written down as waves.
const maxWaves = 100

// Waves says how a rollout spreads. The zero Waves is one wave of everybody.
type Waves struct {
	// Reach says of each wave how many hosts are reached once it is over, those of
	// the canary included.
	Reach []Amount
	// Factor makes each wave that many times as large as the one before instead;
	// 0 when Reach counts.
	Factor int
}

var growthForm = regexp.MustCompile(`\Aexp:([1-9][0-9]{0,2})\z`)

// ParseWaves reads 10%,50%,100% or 1,5,20: how many hosts, or which share, are
// reached in total once each wave is over; what the last leaves out is one more
// wave. Or exp:2: each wave is twice as large as the one before, and the first
// twice the canary, or one host without a canary.
func ParseWaves(text string) (Waves, error) {
	if m := growthForm.FindStringSubmatch(text); m != nil {
		factor, _ := strconv.Atoi(m[1])
		w := Waves{Factor: factor}
		if err := w.validate(); err != nil {
			return Waves{}, err
		}
		return w, nil
	}
	if strings.HasPrefix(text, "exp:") {
		return Waves{}, fmt.Errorf("waves %s: want a whole number after exp:, such as exp:2", quote(text))
	}
	if strings.Count(text, ",") >= maxWaves {
		return Waves{}, tooManyWaves()
	}
	var w Waves
	for entry := range strings.SplitSeq(text, ",") {
		a, err := ParseAmount(entry)
		if err != nil {
			return Waves{}, fmt.Errorf("waves: %w, separated by commas without blanks, or exp:2", err)
		}
		if err := w.add(a); err != nil {
			return Waves{}, err
		}
	}
	return w, nil
}

// validate is for waves that nobody parsed.
func (w Waves) validate() error {
	switch {
	case w.Factor < 0 || w.Factor == 1 || w.Factor > 100:
		return fmt.Errorf("waves %s: they grow by a factor of 2 to 100", w)
	case len(w.Reach) > maxWaves:
		return tooManyWaves()
	}
	return nil
}

func tooManyWaves() error { return fmt.Errorf("waves: more than %d are given", maxWaves) }

// add takes one more wave. Whether a number is more than a share depends on the
// fleet; within a kind each must be more than the one before.
func (w *Waves) add(a Amount) error {
	if a.N == 0 {
		return fmt.Errorf("waves: %s reaches nobody", a)
	}
	for _, before := range w.Reach {
		if before.Share == a.Share && before.N >= a.N {
			return fmt.Errorf("waves: %s after %s: each entry says how many hosts are reached in total, so they must rise", a, before)
		}
	}
	w.Reach = append(w.Reach, a)
	return nil
}

// String is what ParseWaves reads; the zero Waves is 100%.
func (w Waves) String() string {
	if w.Factor != 0 {
		return "exp:" + strconv.Itoa(w.Factor)
	}
	if len(w.Reach) == 0 {
		return "100%"
	}
	texts := make([]string, len(w.Reach))
	for i, a := range w.Reach {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}

// sizes divides n hosts, of which the first ones are the canary, none for 0. No
// wave is empty, and together they are n.
func (w Waves) sizes(n, canary int) []int {
	var sizes []int
	reached := 0
	upTo := func(end int) {
		if end = min(end, n); end > reached {
			sizes = append(sizes, end-reached)
			reached = end
		}
	}
	upTo(canary)
	for _, a := range w.Reach {
		upTo(a.Reaches(n))
	}
	if w.Factor != 0 {
		for size := max(1, canary*w.Factor); reached < n; size *= w.Factor {
			upTo(reached + size)
		}
	}
	upTo(n)
	return sizes
}
