package fetch

import (
	"context"
	"io"
	"os"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// file is the path of an inventory.
type file string

func (f file) Read(context.Context) (*inventory.Inventory, error) {
	opened, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	// One byte more shows that there is more.
	data, err := io.ReadAll(io.LimitReader(opened, inventory.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	return inventory.Parse(string(f), data)
}
