package chain

import (
	"testing"
	"time"
)

// record makes a record of n lines.
func record(t testing.TB, n int) [][]byte {
	t.Helper()
	lines := make([][]byte, n)
	head := Head{}
	for i := range lines {
		lines[i] = Encode(Entry{
			Seq: int64(i + 1), Time: time.Date(2026, 11, 21, 8, 0, i, 0, time.UTC), Actor: "alice", Role: "upgrade", From: "tls 10.0.0.5:4711",
			Method: "/gracefleet.v1.Upgrades/StartUpgrade", Service: "web", Decision: Allowed, Reason: "release 42", RequestID: "3f1c",
			Detail: map[string]string{"artifact": "sha256:12ab", "generation": "7"}, Prev: head.Chained(),
		})
		head = headOf(i+1, lines[i])
	}
	return lines
}

func headOf(seq int, line []byte) Head { return Head{Seq: int64(seq), Hash: Hash(line)} }

// BenchmarkVerifier is what each line costs whoever verifies.
func BenchmarkVerifier(b *testing.B) {
	lines := record(b, 1000)
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		v := NewVerifier(Head{}, Head{})
		for _, line := range lines {
			if err := v.Add(line); err != nil {
				b.Fatal(err)
			}
		}
	}
}
