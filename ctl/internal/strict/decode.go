package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"
)

// Decode hands the one document of a file to read, which reports mistakes by the
// decoder. Name is the file's in errors; limit is the most bytes it may have. The
// error is an Errors.
func Decode(name string, data []byte, limit int, read func(d *Decoder, v Value)) error {
	d := &Decoder{name: name}
	if body, ok := d.parse(data, limit); ok {
		read(d, Value{node: body})
	}
	if len(d.errs) > 0 {
		return d.errs.sorted()
	}
	return nil
}

// Decoder collects the mistakes of one file.
type Decoder struct {
	// Expand, unless it is nil, is what each text becomes before it is read; keys stay
	// as they are. What it refuses is a mistake at the text.
	Expand func(text string) (string, error)

	name string
	errs Errors
}

// Fail reports a mistake at a value.
func (d *Decoder) Fail(v Value, format string, args ...any) {
	line, column := v.place()
	d.failAt(line, column, v.key, fmt.Sprintf(format, args...))
}

func (d *Decoder) failAt(line, column int, key, reason string) {
	d.errs = append(d.errs, &Error{File: d.name, Line: line, Column: column, Key: key, Reason: reason})
}

// parse turns the bytes into the one document that a file has.
func (d *Decoder) parse(data []byte, limit int) (*yaml.Node, bool) {
	if len(data) > limit {
		d.failAt(1, 1, "", fmt.Sprintf("file of %d bytes: at most %d", len(data), limit))
		return nil, false
	}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := documents.Decode(&first); err != nil {
		d.syntax(err)
		return nil, false
	}
	if body := first.Content; len(body) == 0 || (Value{node: body[0]}).empty() {
		d.syntax(io.EOF)
		return nil, false
	}
	switch err := documents.Decode(&second); {
	case errors.Is(err, io.EOF):
		return first.Content[0], true
	case err != nil:
		d.syntax(err)
	default:
		d.Fail(Value{node: second.Content[0]}, "a second document: one for each file")
	}
	return nil, false
}

func (d *Decoder) syntax(err error) {
	if errors.Is(err, io.EOF) {
		d.failAt(1, 1, "", "the file is empty")
		return
	}
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		d.failAt(1, 1, "", "not YAML: "+err.Error())
		return
	}
	d.failAt(max(1, e.Mark.Line), max(1, e.Mark.Column), "", "not YAML: "+e.Message)
}
