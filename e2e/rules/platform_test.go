package rules

import "testing"

// Operators and developers have Macs.
func TestClientsBuildForDarwin(t *testing.T) {
	needGo(t)
	if _, err := goCommand("darwin", "build", module+"/api/...", module+"/ctl/...", module+"/runtime/..."); err != nil {
		t.Error(err)
	}
}
