package audit

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"syscall"

	"pgregory.net/rapid"
)

// fakeDisk is a directory that a power cut takes what was not synced from, and
// that fails when a test wants it to.
type fakeDisk struct {
	now     map[string]*fakeContent
	durable map[string]*fakeContent // the names that survive
	fail    func(op string) error   // nil: nothing fails
}

// fakeContent is a file, whatever its name.
type fakeContent struct {
	now     []byte
	history [][]byte // what a power cut may leave, the last synced first
}

func newFakeDisk() *fakeDisk {
	return &fakeDisk{now: map[string]*fakeContent{}, durable: map[string]*fakeContent{}}
}

func (d *fakeDisk) failing(op string) error {
	if d.fail == nil {
		return nil
	}
	return d.fail(op)
}

func (d *fakeDisk) names() ([]string, error) { return slices.Collect(maps.Keys(d.now)), nil }

func (d *fakeDisk) open(name string, _ bool) (file, error) {
	c := d.now[name]
	if c == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &fakeFile{d, c}, nil
}

func (d *fakeDisk) create(name string) (file, error) {
	if err := d.failing("create"); err != nil {
		return nil, err
	}
	c := d.now[name]
	if c == nil {
		c = &fakeContent{history: [][]byte{nil}}
		d.now[name] = c
	}
	if len(c.now) > 0 {
		return nil, fmt.Errorf("%s has %d bytes", name, len(c.now))
	}
	return &fakeFile{d, c}, nil
}

func (d *fakeDisk) replace(name string, data []byte) error {
	if err := d.failing("replace"); err != nil {
		return err
	}
	d.now[name] = &fakeContent{now: data, history: [][]byte{data}}
	return d.sync()
}

func (d *fakeDisk) remove(name string) error {
	if err := d.failing("remove"); err != nil {
		return err
	}
	delete(d.now, name)
	return nil
}

func (d *fakeDisk) sync() error {
	if err := d.failing("sync names"); err != nil {
		return err
	}
	d.durable = maps.Clone(d.now)
	return nil
}

func (d *fakeDisk) close() error { return nil }

// cut is a power cut: of names and of content, what was synced is there, of the
// rest anything.
func (d *fakeDisk) cut(t *rapid.T) {
	names := map[string]*fakeContent{}
	for _, name := range slices.Sorted(maps.Keys(d.now)) {
		if d.durable[name] == d.now[name] || rapid.Bool().Draw(t, "name survives") {
			names[name] = d.now[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.durable)) {
		if d.now[name] != d.durable[name] && names[name] == nil && rapid.Bool().Draw(t, "name comes back") {
			names[name] = d.durable[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		names[name].cut(t)
	}
	d.now, d.durable = names, maps.Clone(names)
}

// cut leaves a content that once was, and of what was appended to it a part.
func (c *fakeContent) cut(t *rapid.T) {
	i := rapid.IntRange(0, len(c.history)-1).Draw(t, "content")
	left := c.history[i]
	if i > 0 && bytes.HasPrefix(left, c.history[i-1]) {
		left = left[:rapid.IntRange(len(c.history[i-1]), len(left)).Draw(t, "torn at")]
		if rapid.Bool().Draw(t, "longer than written") {
			left = append(bytes.Clone(left), make([]byte, rapid.IntRange(0, 600).Draw(t, "zeros"))...)
		}
	}
	c.now, c.history = left, [][]byte{left}
}

type fakeFile struct {
	disk *fakeDisk
	*fakeContent
}

func (f *fakeFile) Close() error { return nil }

func (f *fakeFile) size() (int64, error) { return int64(len(f.now)), nil }

func (f *fakeFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.now).ReadAt(p, off)
}

// WriteAt writes half of it when it fails.
func (f *fakeFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.disk.failing("write")
	if err != nil {
		p = p[:len(p)/2]
	}
	if off != int64(len(f.now)) {
		return 0, fmt.Errorf("written at %d of %d: %w", off, len(f.now), io.ErrShortWrite)
	}
	f.set(slices.Concat(f.now, p))
	return len(p), err
}

func (f *fakeFile) truncate(size int64) error {
	if err := f.disk.failing("truncate"); err != nil {
		return err
	}
	f.set(bytes.Clone(f.now[:size]))
	return nil
}

func (f *fakeFile) reserve(int64) error { return f.disk.failing("reserve") }

func (f *fakeFile) sync() error {
	if err := f.disk.failing("sync"); err != nil {
		return err
	}
	f.history = [][]byte{f.now}
	return nil
}

func (f *fakeFile) set(data []byte) {
	f.now = data
	f.history = append(f.history, data)
}

// fails makes a fault that comes up once in a while.
func fails(t *rapid.T) func(op string) error {
	left := rapid.IntRange(0, 4).Draw(t, "operations until it fails")
	times := rapid.IntRange(1, 3).Draw(t, "times")
	return func(string) error {
		if left > 0 {
			left--
			return nil
		}
		if times == 0 {
			return nil
		}
		times--
		return rapid.SampledFrom([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO}).Draw(t, "error")
	}
}
