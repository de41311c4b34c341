package link

import (
	"net/url"
	"strings"
	"testing"
)

func TestBelow(t *testing.T) {
	const prefix = "https://artifacts.example.org/releases/"
	for text, want := range map[string]bool{
		"https://artifacts.example.org/releases/web":                          true,
		"https://artifacts.example.org:443/releases/web":                      true,
		"https://ARTIFACTS.example.org/releases/v2/web":                       true,
		"https://artifacts.example.org/releases/web?X-Amz-Signature=s":        true,
		"https://artifacts.example.org/releases/web?to=../../etc":             true,
		"https://artifacts.example.org/rel%65ases/web":                        true,
		"https://artifacts.example.org/releases/w%20eb":                       true,
		"https://artifacts.example.org/releases/a..b":                         true,
		"https://artifacts.example.org/releases/":                             false,
		"https://artifacts.example.org/releases":                              false,
		"https://artifacts.example.org/releases?/web":                         false,
		"https://artifacts.example.org/releases2/web":                         false,
		"https://artifacts.example.org/Releases/web":                          false,
		"https://artifacts.example.org:8443/releases/web":                     false,
		"https://artifacts.example.org.evil.org/releases/web":                 false,
		"https://artifacts.example.org@evil.org/releases/web":                 false,
		"https://evil.org/https://artifacts.example.org/releases/web":         false,
		"https://evil.org/?https://artifacts.example.org/releases/web":        false,
		"https://evil.org?/artifacts.example.org/releases/web":                false,
		"https://user@artifacts.example.org/releases/web":                     false,
		"https://user:secret@artifacts.example.org/releases/web":              false,
		"https://@artifacts.example.org/releases/web":                         false,
		"https://artifacts.example.org./releases/web":                         false,
		"https://artifacts.example.org:/releases/web":                         false,
		"https://artifacts.example.org:0443/releases/web":                     false,
		"https://artifacts.example.org:99999/releases/web":                    false,
		"https://artifacts%2eexample.org/releases/web":                        false,
		"https://artifacts.example.org\\@evil.org/releases/web":               false,
		"https://artifacts.example.org/releases/../secret":                    false,
		"https://artifacts.example.org/releases/./web":                        false,
		"https://artifacts.example.org/releases//web":                         false,
		"https://artifacts.example.org//releases/web":                         false,
		"https://artifacts.example.org/releases/..":                           false,
		"https://artifacts.example.org/releases/%2e%2e/secret":                false,
		"https://artifacts.example.org/releases/%2E./secret":                  false,
		"https://artifacts.example.org/releases/..%2fsecret":                  false,
		"https://artifacts.example.org/releases/..%5csecret":                  false,
		"https://artifacts.example.org/releases/..\\secret":                   false,
		"https://artifacts.example.org/releases/%252e%252e/secret":            false,
		"https://artifacts.example.org/releases/..;/secret":                   false,
		"https://artifacts.example.org/releases/..%3b/secret":                 false,
		"https://artifacts.example.org/releases/web%00.txt":                   false,
		"https://artifacts.example.org/releases/web%0d%0aX:":                  false,
		"https://artifacts.example.org/releases/web%zz":                       false,
		"https://artifacts.example.org/releases/web#sha256=1":                 false,
		"https://artifacts.example.org/releases/w eb":                         false,
		"https://artifacts.example.org/releases/wéb":                          false,
		"https:/artifacts.example.org/releases/web":                           false,
		"https:artifacts.example.org/releases/web":                            false,
		"HTTPS://artifacts.example.org/releases/web":                          false,
		"http://artifacts.example.org/releases/web":                           false,
		"file:///releases/web":                                                false,
		"//artifacts.example.org/releases/web":                                false,
		"https://[::1]/releases/web":                                          false,
		"https://[artifacts.example.org]/releases/web":                        false,
		"https:///releases/web":                                               false,
		"":                                                                    false,
		"https://artifacts.example.org/releases/" + strings.Repeat("x", 9000): false,
	} {
		l, err := Parse(text)
		if got := err == nil && l.Below(parse(t, prefix)); got != want {
			t.Errorf("%.100s is below %s: %v (%v)", text, prefix, got, err)
		}
	}
}

func parse(t testing.TB, text string) Link {
	t.Helper()
	l, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return l
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"https://[::1]:8443/x": true, "https://127.0.0.1/x": true, "https://[::1%25eth0]/x": false, "https://[0:0::1]/x": false,
		"https://[::ffff:1.2.3.4]/x": true, "https://::1/x": false, "https://[::1/x": false, "https://::1]/x": false,
	} {
		if _, err := Parse(text); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	l := parse(t, "https://h.example.org/a/web?X-Amz-Signature=secret")
	if l.String() != "https://h.example.org/a/web" || !strings.HasSuffix(l.URL(), "?X-Amz-Signature=secret") || l.Name() != "web" || l.Parent() != "https://h.example.org/a/" {
		t.Errorf("%s, %s, %s, %s", l, l.URL(), l.Name(), l.Parent())
	}
	for _, text := range []string{"https://h/a/../b?secret", "https://u@h/?secret", "https://h:x/?secret", "https://h/%zz?secret", "http://h/?secret", "https://h/?secret#"} {
		if _, err := Parse(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := l.Resolve("https://h/%zz?secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a bad redirect: %v", err)
	}
}

func TestResolve(t *testing.T) {
	from := parse(t, "https://h.example.org/a/web?x=y")
	for location, want := range map[string]string{
		"https://other.example.org/b?s=1": "https://other.example.org/b?s=1",
		"/c/web":                          "https://h.example.org/c/web",
		"web-2":                           "https://h.example.org/a/web-2",
		"../b/web":                        "https://h.example.org/b/web",
		"?z":                              "https://h.example.org/a/web?z",
		"/c#top":                          "https://h.example.org/c",
		"http://h.example.org/c":          "",
		"//u@h.example.org/c":             "",
		"/c/%2e%2e/d":                     "",
		"file:///etc/passwd":              "",
	} {
		l, err := from.Resolve(location)
		if (err == nil) != (want != "") || err == nil && l.URL() != want {
			t.Errorf("%s: %s, %v", location, l.URL(), err)
		}
	}
}

// What is below a prefix as we read it is so for net/url, which makes the request,
// and for a server that decodes once more and cleans.
func FuzzBelow(f *testing.F) {
	prefix := parse(f, "https://h.example.org/releases/")
	for _, seed := range []string{
		"https://h.example.org/releases/web", "https://h.example.org/releases/%2e%2e/x", "https://h.example.org:443/releases/..;/x",
		"https://u@h.example.org/releases/a", "https://h.example.org/releases/%252e/x?y", "https://h.example.org/releases/\\..\\x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(text)
		if err != nil || !l.Below(prefix) {
			return
		}
		u, err := url.Parse(l.URL())
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if u.Scheme != "https" || u.Host != "h.example.org" || u.User != nil || u.Fragment != "" || !strings.HasPrefix(u.Path, "/releases/") {
			t.Fatalf("%q is %#v", text, u)
		}
		twice, err := url.PathUnescape(u.Path)
		if err != nil {
			t.Fatalf("%q decodes twice to an error: %v", text, err)
		}
		for segment := range strings.SplitSeq(strings.ReplaceAll(twice, `\`, "/"), "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("%q has a segment %q", text, segment)
			}
		}
		if strings.Contains(l.String(), "?") {
			t.Fatalf("%q is shown as %q", text, l)
		}
	})
}
