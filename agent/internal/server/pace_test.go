package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/net/http2"
	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

// Frames are found however the bytes are cut.
func TestFramesAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent bytes.Buffer
		sent.WriteString(http2.ClientPreface)
		framer := http2.NewFramer(&sent, nil)
		want := 0
		for range rapid.IntRange(0, 50).Draw(t, "frames") {
			payload := make([]byte, rapid.SampledFrom([]int{0, 1, 8, freeData - 1, freeData, 16 << 10}).Draw(t, "size"))
			kind := rapid.SampledFrom([]http2.FrameType{http2.FrameData, http2.FrameHeaders, http2.FramePing, http2.FrameRSTStream, 0xee}).Draw(t, "kind")
			if err := framer.WriteRawFrame(kind, 0, 1, payload); err != nil {
				t.Fatal(err)
			}
			want += worthOf(kind, len(payload))
		}
		c, got := frameCounter{skip: len(http2.ClientPreface)}, 0
		for sent.Len() > 0 {
			got += c.count(sent.Next(rapid.IntRange(0, 40_000).Draw(t, "cut")))
		}
		if got != want {
			t.Fatalf("counted %d, sent %d", got, want)
		}
	})
}

// Nothing that a peer sends makes the counter fail.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(http2.ClientPreface), 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		c := frameCounter{}
		cut = min(max(cut, 0), len(data))
		split := c.count(data[:cut]) + c.count(data[cut:])
		if whole := (&frameCounter{}).count(data); whole != split {
			t.Errorf("%d in one piece, %d in two", whole, split)
		}
	})
}

// endless is a connection on which streams are opened without end.
type endless struct {
	net.Conn
	frames []byte
}

func (e *endless) Read(b []byte) (int, error) { return copy(b, e.frames), nil }
func (e *endless) Close() error               { return nil }

// A flood is read at the caller's pace, however many connections it has, and then
// no more.
func TestFloodIsPaced(t *testing.T) {
	var frames bytes.Buffer
	framer := http2.NewFramer(&frames, nil)
	for range 4000 {
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		pace := rate.NewLimiter(framesPerSecond, framesAtOnce)
		streams, cut := make(chan int), make(chan time.Duration, 32)
		const connections, seconds = 32, 20
		for range connections {
			go func() {
				c := newPacedConn(&endless{frames: frames.Bytes()}, Caller{}, pace, newQuietLog(hclog.NewNullLogger()))
				defer c.Close()
				c.frames.skip = 0
				n := 0
				for begin := time.Now(); time.Since(begin) < seconds*time.Second; {
					read, err := c.Read(make([]byte, 32<<10))
					if errors.Is(err, errFlood) {
						cut <- time.Since(begin)
						break
					}
					n += read / frameHeader
					c.frames = frameCounter{} // each read begins with a frame
				}
				streams <- n
			}()
		}
		sum := 0
		for range connections {
			sum += <-streams
		}
		// What each connection brings before the first wait, and then a little at a time.
		first, later := connections*(32<<10)/frameHeader, connections*(seconds+1)*hurriedRead/frameHeader
		if sum > first+later+seconds*framesPerSecond/worthOfStream {
			t.Errorf("%d streams in %d s", sum, seconds)
		}
		if len(cut) != connections {
			t.Errorf("%d of %d were cut off", len(cut), connections)
		}
		for range len(cut) {
			if after := <-cut; after < maxBeyond || after > maxBeyond+3*maxPause {
				t.Errorf("cut off after %v", after)
			}
		}
	})
}

// Whoever waits for answers may have as many calls as it likes: it is held up, not
// cut off.
func TestBusyCallerIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const atOnce = maxStreams * maxConnectionsPerCert / 4
		frames := bytes.Repeat([]byte{0, 0, 0, byte(http2.FrameHeaders), 4, 0, 0, 0, 1}, atOnce)
		c := newPacedConn(&endless{frames: frames}, Caller{}, rate.NewLimiter(framesPerSecond, framesAtOnce), newQuietLog(hclog.NewNullLogger()))
		defer c.Close()
		c.frames.skip = 0
		calls := 0
		for begin := time.Now(); time.Since(begin) < time.Minute; {
			n, err := c.Read(make([]byte, len(frames)))
			if err != nil {
				t.Fatalf("after %d calls in %v: %v", calls, time.Since(begin), err)
			}
			c.frames = frameCounter{}
			calls += n / frameHeader
		}
		if calls < 50*framesPerSecond/worthOfStream {
			t.Errorf("%d calls in a minute", calls)
		}
	})
}

// A pause ends with the connection.
func TestPauseEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pace := rate.NewLimiter(1, framesAtOnce)
		pace.AllowN(time.Now(), framesAtOnce)
		a, b := net.Pipe()
		defer b.Close()
		c := newPacedConn(a, Caller{}, pace, newQuietLog(hclog.NewNullLogger()))
		c.frames.skip = 0
		go func() { _, _ = b.Write(make([]byte, frameHeader)) }()
		begin := time.Now()
		time.AfterFunc(maxPause/2, func() { c.Close() })
		if n, err := c.Read(make([]byte, 100)); n != frameHeader || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		if took := time.Since(begin); took != maxPause/2 {
			t.Errorf("paused for %v", took)
		}
		if _, err := c.Read(make([]byte, 100)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v", err)
		}
	})
}
