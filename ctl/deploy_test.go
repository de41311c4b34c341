package ctl

import (
	"os"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/ctl/internal/contexts"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
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

// The inventory and the contexts of the instructions are ones.
func TestInstructionsForInventories(t *testing.T) {
	text, err := os.ReadFile("../deploy/inventory.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		examples = append(examples, example)
	}
	if len(examples) != 2 {
		t.Fatalf("%d examples", len(examples))
	}
	if _, err := inventory.Parse("inventory.md", []byte(examples[0])); err != nil {
		t.Error(err)
	}
	if _, err := contexts.Parse("inventory.md", []byte(examples[1])); err != nil {
		t.Error(err)
	}
}
