package audit

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// rawLine is a line as it lies in a file.
type rawLine struct {
	data   []byte // without the newline; valid until the next one is read
	number int    // of those that were asked for, from 1
	offset int64
	ended  bool // with a newline
	last   bool // nothing follows
}

// eachLine calls fn with the lines of a file from an offset on, also of a damaged one.
// A line that is longer than any of a record is cut where that is certain.
func eachLine(r io.ReaderAt, from, size int64, fn func(rawLine) error) error {
	buf := bufio.NewReaderSize(io.NewSectionReader(r, from, size-from), 64<<10)
	var data []byte
	for number, offset := 1, from; offset < size; number++ {
		var n int64
		var ended bool
		var err error
		if data, n, ended, err = readLine(buf, data[:0]); err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF // somebody made it shorter
		}
		if err := fn(rawLine{data: data, number: number, offset: offset, ended: ended, last: offset+n >= size}); err != nil {
			return err
		}
		offset += n
	}
	return nil
}

// readLine reads a line of n bytes and returns it, or the beginning of it.
func readLine(buf *bufio.Reader, line []byte) (data []byte, n int64, ended bool, err error) {
	for {
		piece, err := buf.ReadSlice('\n')
		n += int64(len(piece))
		if ended = err == nil; ended {
			piece = piece[:len(piece)-1]
		}
		line = append(line, piece[:min(len(piece), chain.MaxLine+1-len(line))]...)
		switch {
		case ended || errors.Is(err, io.EOF):
			return line, n, ended, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, n, false, err
		}
	}
}

// seekStep is how much of a file is read to find a line's number in it.
const seekStep = 4 << 10

// seek returns the offset of a line that is not after the one of that number, and near
// it, by bisection. Where no number can be told it goes back, at worst to 0.
func seek(r io.ReaderAt, size, after int64) int64 {
	low, high := int64(0), size
	for buf := make([]byte, seekStep); high-low > seekStep; {
		mid := low + (high-low)/2
		n, _ := r.ReadAt(buf[:min(seekStep, high-mid)], mid)
		end := bytes.IndexByte(buf[:n], '\n') + 1
		seq, ok := chain.Number(buf[end:n])
		if end == 0 || !ok || seq > after {
			high = mid
			continue
		}
		low = mid + int64(end)
	}
	return low
}
