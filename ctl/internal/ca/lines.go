package ca

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// parseLines reads one object a line. It is strict: a key that is not known would be
// lost when the file is written again. check is called with the line's number.
func parseLines[T any](data []byte, check func(n int, v T) error) ([]T, error) {
	if len(data) > 0 && data[len(data)-1] != '\n' {
		return nil, fmt.Errorf("%d: the last line is cut off", bytes.Count(data, []byte("\n"))+1)
	}
	var all []T
	for line := range bytes.Lines(data) {
		v, err := parseLine[T](line)
		if err == nil {
			err = check(len(all)+1, v)
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", len(all)+1, err)
		}
		all = append(all, v)
	}
	return all, nil
}

func parseLine[T any](line []byte) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return v, errors.New("the line is empty")
		}
		return v, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, errors.New("more than one object")
	}
	return v, nil
}

func formatLines[T any](all []T) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, v := range all {
		if err := e.Encode(v); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
