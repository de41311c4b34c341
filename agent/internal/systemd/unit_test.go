package systemd

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse(t *testing.T) {
	const running = "MainPID=812\nId=web.service\nTriggeredBy=web.socket web.timer\nLoadState=loaded\nActiveState=active\nSubState=running\n" +
		"RequiredBy=multi-user.target side.service\nConsistsOf=part.service web.socket\nUnitFileState=enabled\n"
	for name, c := range map[string]struct {
		show string
		want Unit
		text string // of the error
	}{
		"running": {show: running, want: Unit{
			Name: "web.service", PID: 812, State: "active running", Triggers: []string{"web.socket", "web.timer"},
			Dependents: []string{"side.service", "part.service"}, Enabled: []string{"web.service"},
		}},
		"alone":     {show: "MainPID=812\nId=web.service\nLoadState=loaded\nActiveState=reloading\nSubState=reload\n", want: Unit{Name: "web.service", PID: 812, State: "reloading reload"}},
		"not there": {show: "MainPID=0\nId=web.service\nLoadState=not-found\nActiveState=inactive\n", text: "there is no unit web"},
		"stopped":   {show: "MainPID=0\nId=web.service\nLoadState=loaded\nActiveState=inactive\n", text: "it is inactive"},
		"failing":   {show: strings.Replace(running, "=active", "=activating", 1), text: "it is activating"},
		"a socket":  {show: "Id=web.socket\nLoadState=loaded\nActiveState=active\n", text: "not a service"},
		"nothing":   {text: "not a service"},
	} {
		got, err := parse("web", c.show)
		if c.text == "" && err != nil || c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %v, want %q", name, err, c.text)
		}
		if d := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); d != "" && c.text == "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, err := parse("web", "Id=web.service\nActiveState=inactive\n"); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
}

// A name goes onto a command line.
func TestNames(t *testing.T) {
	for _, name := range []string{"", "--help", "-H", "a b", "web.service\n", "../web", "a/b", strings.Repeat("a", 256)} {
		if _, err := Find(t.Context(), name); err == nil || !strings.Contains(err.Error(), "not the name of a unit") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"web", "web@1.service", `dev-disk-by\x2did.service`} {
		if !nameForm.MatchString(name) {
			t.Errorf("%q is refused", name)
		}
	}
}
