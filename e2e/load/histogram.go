package load

import (
	"math/bits"
	"time"
)

// subBits gives each power of two 32 buckets: values are off by 3 % at most.
const subBits = 5

// histogram counts durations in microseconds. The zero value is empty.
type histogram struct {
	buckets [(64 - subBits) << subBits]uint32
	n       int64
	max     time.Duration
}

func bucketOf(us uint64) int {
	exp := bits.Len64(us >> subBits) // 0 for what fits one bucket each
	if exp == 0 {
		return int(us)
	}
	return exp<<subBits + int(us>>(exp-1)) - 1<<subBits
}

// upperOf is the largest value of a bucket.
func upperOf(bucket int) uint64 {
	exp, sub := bucket>>subBits, uint64(bucket&(1<<subBits-1))
	if exp == 0 {
		return sub
	}
	return (sub+1<<subBits+1)<<(exp-1) - 1
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucketOf(uint64(d/time.Microsecond))]++
	h.n++
	h.max = max(h.max, d)
}

// quantile is the smallest bucket's bound that q of all values do not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	want := int64(q*float64(h.n) + 0.5)
	var seen int64
	for i, n := range h.buckets {
		seen += int64(n)
		if n > 0 && seen >= want {
			return min(time.Duration(upperOf(i))*time.Microsecond, h.max)
		}
	}
	return h.max
}

func (h *histogram) summary() Latency {
	return Latency{P50: h.quantile(0.50), P99: h.quantile(0.99), P999: h.quantile(0.999), Max: h.max}
}
