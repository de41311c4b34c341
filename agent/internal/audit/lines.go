package audit

import (
	"bufio"
	"errors"
	"io"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// rawLine is a line as it lies in a file.
type rawLine struct {
	data   []byte // without the newline; valid until the next one is read
	number int    // in its file, from 1
	offset int64
	ended  bool // with a newline
	last   bool // nothing follows
}

// eachLine calls fn with the lines of a file, also of a damaged one. A line that is
// longer than any of a record is cut where that is certain.
func eachLine(r io.ReaderAt, size int64, fn func(rawLine) error) error {
	buf := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10)
	var data []byte
	for number, offset := 1, int64(0); offset < size; number++ {
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
