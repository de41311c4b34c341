package ctl

import (
	"os"
	"testing"

	"github.com/gracefleet/gracefleet/ctl/internal/spec"
)

// The sample that is shipped is one that is understood.
func TestDeployedSampleIsUnderstood(t *testing.T) {
	data, err := os.ReadFile("../deploy/web.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Parse("web.yaml", data); err != nil {
		t.Error(err)
	}
}
