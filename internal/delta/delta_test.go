package delta

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program is bytes that compress by half or so, as those of a program do.
func program(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(16)) * 7
	}
	return b
}

func file(b []byte) File { return File{bytes.NewReader(b), int64(len(b))} }

func encoded(t testing.TB, artifact, base []byte) (wire []byte, frames []int64) {
	t.Helper()
	var out bytes.Buffer
	frames, err := Encode(t.Context(), &out, file(artifact), file(base))
	if err != nil {
		t.Fatal(err)
	}
	if frames[len(frames)-1] != int64(out.Len()) {
		t.Fatalf("frames %v of %d bytes", frames, out.Len())
	}
	return out.Bytes(), frames
}

func decoded(t testing.TB, wire []byte, size int, base []byte) ([]byte, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(wire), int64(size), base)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

func wantSame(t testing.TB, wire, artifact, base []byte) {
	t.Helper()
	got, err := decoded(t, wire, len(artifact), base)
	if err != nil || !bytes.Equal(got, artifact) {
		t.Fatalf("decoded %d of %d bytes: %v", len(got), len(artifact), err)
	}
}

// Bytes that are inserted move all that follows, across the borders of segments.
func TestDifference(t *testing.T) {
	base := program(1, 2*Segment+Segment/2)
	artifact := bytes.Join([][]byte{base[:1000], program(2, 3000), base[1000:Segment], program(3, 70_000), base[Segment+20_000:]}, nil)
	wire, frames := encoded(t, artifact, base)
	if len(wire) > 60_000 || len(frames) != 4 {
		t.Errorf("%d bytes in %d frames for 73,000 new ones", len(wire), len(frames)-1)
	}
	wantSame(t, wire, artifact, base)

	// It goes on at any segment.
	got, err := decoded(t, wire[frames[1]:], len(artifact), base)
	if err != nil || !bytes.Equal(got, artifact[Segment:]) {
		t.Errorf("from the second segment on: %d bytes, %v", len(got), err)
	}
}

func TestWithoutABase(t *testing.T) {
	artifact := program(1, Segment+5)
	wire, _ := encoded(t, artifact, nil)
	if len(wire) > len(artifact)*2/3 {
		t.Errorf("%d bytes of %d", len(wire), len(artifact))
	}
	wantSame(t, wire, artifact, nil)
}

// A base that ends before the last segments leaves them without a dictionary, and those
// with one follow each other.
func TestShortBase(t *testing.T) {
	artifact := bytes.Repeat(program(1, 100_000), 2*Segment/100_000+1)
	for _, n := range []int{1, 7, 8, 100_000, Segment + margin, Segment + margin + 1} {
		wire, _ := encoded(t, artifact, artifact[:n])
		wantSame(t, wire, artifact, artifact[:n])
	}
}

func TestNoGain(t *testing.T) {
	noise := make([]byte, 3*Segment)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	var out bytes.Buffer
	if _, err := Encode(t.Context(), &out, file(noise), File{}); !errors.Is(err, ErrNoGain) {
		t.Errorf("got %v", err)
	}
	if out.Len() > Segment+Segment/100 {
		t.Errorf("gave up after %d bytes", out.Len())
	}
}

func TestEncodeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Encode(ctx, io.Discard, file(program(1, 100)), File{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := Encode(t.Context(), io.Discard, File{bytes.NewReader(nil), 100}, File{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that shrank: %v", err)
	}
}

// edit is any change of a file: bytes removed, added, and moved.
func edit(t *rapid.T, b []byte) []byte {
	for range rapid.IntRange(0, 5).Draw(t, "edits") {
		at := rapid.IntRange(0, len(b)).Draw(t, "at")
		gone := rapid.IntRange(0, min(len(b)-at, 2000)).Draw(t, "gone")
		added := program(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 2000).Draw(t, "added"))
		moved := b[:rapid.IntRange(0, min(len(b), 2000)).Draw(t, "moved")]
		b = bytes.Join([][]byte{b[:at], added, moved, b[at+gone:]}, nil)
	}
	return b
}

func TestAnyEdit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := program(rapid.Uint64().Draw(t, "base"), rapid.IntRange(0, 20_000).Draw(t, "size"))
		artifact := append(edit(t, base), 1)
		var out bytes.Buffer
		_, err := Encode(context.Background(), &out, file(artifact), file(base))
		if errors.Is(err, ErrNoGain) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(&out, int64(len(artifact)), base)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, artifact) {
			t.Fatalf("decoded %d of %d bytes: %v", len(got), len(artifact), err)
		}
	})
}

// The wrong base, and bytes that are missing or changed, are found, or give other bytes: the digest
// tells those.
func TestWrongInput(t *testing.T) {
	base := program(1, 300_000)
	artifact := bytes.Join([][]byte{base[:1000], program(2, 300), base[1000:]}, nil)
	wire, _ := encoded(t, artifact, base)
	if got, err := decoded(t, wire, len(artifact), program(3, 300_000)); err == nil && bytes.Equal(got, artifact) {
		t.Error("another base gave the same bytes")
	}
	for name, bad := range map[string][]byte{"no base": nil, "a short base": base[:1000]} {
		if _, err := decoded(t, wire, len(artifact), bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := 1; n < len(wire); n++ {
		if _, err := decoded(t, wire[:n], len(artifact), base); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(wire), err)
		}
	}
}

// A frame says how much memory it needs: as much as a segment has, no more.
func TestFramesThatAreTooLarge(t *testing.T) {
	const begin = "\x28\xb5\x2f\xfd"
	block := "\x0b\x00\x00x" // the last: one x
	for wire, ok := range map[string]bool{
		begin + "\x00\x68" + block:             true,  // a window of 8 MiB
		begin + "\x00\x69" + block:             false, // of 9
		begin + "\xa0\x01\x00\x00\x00" + block: true,  // a segment of one byte
		begin + "\xa0\x01\x00\x80\x00" + block: false, // of 8 MiB and one byte
		begin + "\xa0\xff\xff\xff\xff" + block: false,
		begin + "\x01\x68\x09" + block:         false, // a dictionary that nobody has
		begin + "\x01\x68\x01" + block:         true,
	} {
		_, err := decoded(t, []byte(wire), 10, []byte("base"))
		if ok && err != nil || !ok && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", wire, err)
		}
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestErrorsOfTheSource(t *testing.T) {
	base := program(1, 300_000)
	wire, _ := encoded(t, base, base)
	vanished := errors.New("vanished")
	for n := range wire {
		r, err := NewReader(io.MultiReader(bytes.NewReader(wire[:n]), broken{vanished}), int64(len(base)), base)
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		if !errors.Is(err, vanished) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// A base whose disk fails is no end of the process.
func TestBaseThatCannotBeRead(t *testing.T) {
	base := program(1, 300_000)
	wire, _ := encoded(t, base, base)
	path := filepath.Join(t.TempDir(), "base")
	if err := os.WriteFile(path, base, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, len(base), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	wantSame(t, wire, base, mapped)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := decoded(t, wire, len(base), mapped); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestProof(t *testing.T) {
	a, err := Proof("sha256:1", bytes.NewReader([]byte("x")))
	if err != nil || len(a) != ProofSize {
		t.Fatal(a, err)
	}
	b, _ := Proof("sha256:2", bytes.NewReader([]byte("x")))
	c, _ := Proof("sha256:1", bytes.NewReader([]byte("y")))
	if bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("it is not bound to what it proves")
	}
}

// FuzzReader decodes anything, in the little memory it has. Whoever reads may stop at any time.
func FuzzReader(f *testing.F) {
	base := program(1, 50_000)
	artifact := bytes.Join([][]byte{base[:1000], program(2, 300), base[1000:]}, nil)
	wire, _ := encoded(f, artifact, base)
	f.Add(wire)
	f.Add(wire[:len(wire)/2])
	f.Add(append(wire, wire...))
	plain, _ := encoded(f, bytes.Repeat([]byte("plain"), 10_000), nil)
	f.Add(plain)
	f.Add([]byte("\x28\xb5\x2f\xfd\xa4\xff\xff\xff\xff\x01\x03\x00\x00"))                           // a segment that says it has 4 GiB
	f.Add([]byte("\x28\xb5\x2f\xfd\x00\xff\x02\x00\x10x\x03\x00\x10x"))                             // a window of terabytes
	f.Add(append([]byte("\x28\xb5\x2f\xfd\x00\x68"), bytes.Repeat([]byte("\x02\x00\x10x"), 64)...)) // repeats without an end
	f.Fuzz(func(t *testing.T, wire []byte) {
		r, err := NewReader(bytes.NewReader(wire), int64(len(artifact)), base)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		defer r.Close()
		got := int64(0)
		for p := make([]byte, 64<<10); got < 4<<20; {
			n, err := r.Read(p)
			got += int64(n)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
		}
	})
}
