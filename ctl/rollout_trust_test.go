package ctl

import (
	"strings"
	"testing"
)

// Programs that hosts have recorded run here only where somebody says so.
func TestProgramsOfOthersWantLeave(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	for _, a := range f.agents {
		a.rollouts.slow = make(chan struct{})
	}
	if r := f.until(t, "web-1: upgrading", "upgrade web "+artifact+" --hosts web-* --check-command true"); r.code != ExitDetached {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, a := range f.agents {
		a.rollouts.lapse()
	}
	if r := f.gracectl(t, "rollout resume web"); r.code != ExitUsage || !strings.Contains(r.err, `by a program on the driver's machine, "true": if it is to run here, say --allow-commands`) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "rollout abort web --allow-commands -m stop"); r.code != ExitDone {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// A definition goes to hosts in the name of whoever goes on with a rollout: one that
// somebody recorded who may not declare services wants leave.
func TestDefinitionsOfOthersWantLeave(t *testing.T) {
	f, _ := newRolloutFleet(t)
	for _, a := range f.agents {
		a.rollouts.slow = make(chan struct{})
		a.rollouts.lowly = a == f.agents["web-1"]
	}
	file := f.withFile(t, "web.yaml", "name: web\nartifact: ./web-v2\nenv: {A: b}\n")
	if r := f.until(t, "web-1: upgrading", "upgrade -f "+file+" --hosts web-*"); r.code != ExitDetached {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	f.lapse()
	for _, command := range []string{"rollout resume web", "rollout abort web", "rollout promote web"} {
		if r := f.gracectl(t, command); r.code != ExitUsage || !strings.Contains(r.err, "who has claimed web-1 for it, alice, may not declare services there: begin it again") {
			t.Errorf("%s: exit %d: %s%s", command, r.code, r.out, r.err)
		}
	}
	if r := f.gracectl(t, "rollout abort web --allow-commands"); r.code != ExitDone {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}
