package handover

import (
	"strconv"
	"strings"
)

// Values is what placeholders stand for.
type Values struct {
	Artifact      string // path of the executable
	Service       string
	Generation    int
	GenerationDir string // private to one generation, gone after it
	Sockets       []Socket
	Files         map[string]string // path by name
	Credentials   map[string]string // path by name
}

// CredentialsEnv is the variable that names the directory of a program's credentials,
// as systemd.exec(5) has it.
const CredentialsEnv = "CREDENTIALS_DIRECTORY"

// Placeholders describes them, for people.
var Placeholders = [][2]string{
	{"{artifact}", "path of the executable"},
	{"{fd:NAME}", "descriptor of a socket"},
	{"{fds}", "all descriptors, with commas"},
	{"{addr:NAME}", "address of a socket: HOST:PORT, or its path"},
	{"{file:NAME}", "path of one of files"},
	{"{credential:NAME}", "path of one of credentials"},
	{"{generation}", "number of the generation"},
	{"{generation_dir}", "a directory of its own for each generation, removed after it"},
	{"{service}", "name of the service"},
}

// Expand puts the values into a text. What is no placeholder stays as it is:
// braces have other meanings, too.
func (v Values) Expand(text string) string {
	out, _ := v.expand(text)
	return out
}

// Unknown lists the placeholders of a text that name a socket, file or
// credential that is not there.
func (v Values) Unknown(text string) []string {
	_, unknown := v.expand(text)
	return unknown
}

// Knows says whether a text is one placeholder that stands for something.
func (v Values) Knows(placeholder string) bool {
	_, is, known := v.value(strings.Trim(placeholder, "{}"))
	return is && known
}

func (v Values) expand(text string) (expanded string, unknown []string) {
	var out strings.Builder
	for {
		begin := strings.IndexByte(text, '{')
		if begin < 0 {
			break
		}
		out.WriteString(text[:begin])
		text = text[begin:]
		end := strings.IndexByte(text, '}')
		if end < 0 {
			break
		}
		value, is, known := v.value(text[1:end])
		if !is {
			out.WriteByte('{')
			text = text[1:]
			continue
		}
		if !known {
			unknown = append(unknown, text[:end+1])
			value = text[:end+1]
		}
		out.WriteString(value)
		text = text[end+1:]
	}
	out.WriteString(text)
	return out.String(), unknown
}

// value is what a word between braces stands for; is says that it is a
// placeholder at all.
func (v Values) value(word string) (value string, is, known bool) {
	switch word {
	case "artifact":
		return v.Artifact, true, true
	case "service":
		return v.Service, true, true
	case "generation":
		return strconv.Itoa(v.Generation), true, true
	case "generation_dir":
		return v.GenerationDir, true, true
	case "fds":
		return each(v.Sockets, ",", fd), true, true
	}
	kind, name, named := strings.Cut(word, ":")
	if !named {
		return "", false, false
	}
	switch kind {
	case "file":
		path, ok := v.Files[name]
		return path, true, ok
	case "credential":
		path, ok := v.Credentials[name]
		return path, true, ok
	case "fd", "addr":
		for _, s := range v.Sockets {
			if s.Name != name {
				continue
			}
			if kind == "fd" {
				return fd(s), true, true
			}
			return s.Address(), true, true
		}
		return "", true, false
	}
	return "", false, false
}
