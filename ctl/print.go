package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/goccy/go-yaml"
)

// timestamp is the form of every time in records.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// structured says whether the output is for programs.
func (s *session) structured() bool { return s.output != "table" }

// print writes one object, as JSON or YAML.
func (s *session) print(o object) error {
	if s.output == "yaml" {
		return s.printYAML("", o)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(o); err != nil {
		return err
	}
	_, err := s.stdio.Out.Write(b.Bytes())
	return err
}

// record writes one record of a stream: a line of JSON, or a YAML document.
func (s *session) record(kind string, t time.Time, o object) error {
	return s.recordOf(s.host, kind, t, o)
}

// recordOf is record about a host of many; empty is all of them.
func (s *session) recordOf(host, kind string, t time.Time, o object) error {
	o = append(object{{"type", kind}, {"time", timestamp(t)}, {"host", host}}, o...)
	if s.output == "yaml" {
		return s.printYAML("---\n", o)
	}
	b, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, b); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err = s.stdio.Out.Write(line.Bytes())
	return err
}

func (s *session) printYAML(head string, o object) error {
	b, err := yaml.Marshal(o)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.stdio.Out, "%s%s", head, b)
	return err
}

// note writes progress or a message for people.
func (s *session) note(format string, args ...any) {
	fmt.Fprintf(s.stdio.Err, format+"\n", args...)
}

// say writes a result for people.
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.stdio.Out, format+"\n", args...)
}
