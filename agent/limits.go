package agent

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/store"
)

// Limits are how much of the host artifacts may take. Zero takes the default.
type Limits struct {
	// Artifacts is how much all of them may take, unfinished uploads included.
	Artifacts Size `yaml:"artifacts"`
	// Reserve is how much of the disk an upload leaves free.
	Reserve Size `yaml:"reserve"`
}

func (l Limits) options() store.Options {
	return store.Options{Quota: int64(l.Artifacts), KeepFree: int64(l.Reserve)}
}

// Size is a number of bytes; in a configuration it has a unit: 500MiB, 20GiB.
type Size int64

var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

// UnmarshalText reads a whole number above zero, with a unit or in bytes.
func (s *Size) UnmarshalText(text []byte) error {
	number, times := string(text), int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, times = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/times {
		return fmt.Errorf("%q is no size: want a whole number of KiB, MiB, GiB or TiB, such as 20GiB", text)
	}
	*s = Size(n * times)
	return nil
}
