package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Clear removes what a generation has in the runtime directory.
func (h *Host) Clear(service string, generation int) {
	if err := h.clear(service, generation); err != nil {
		h.log.Warn("what a generation had in the runtime directory is left", "service", service, "generation", generation, "error", err)
	}
}

func (h *Host) clear(service string, generation int) error {
	credentials := h.credentialsDir(service, generation)
	entries, _ := os.ReadDir(credentials) // most have none
	var errs []error
	for _, e := range entries {
		errs = append(errs, removePrivate(filepath.Join(credentials, e.Name())))
	}
	return errors.Join(append(errs, os.RemoveAll(credentials),
		os.RemoveAll(h.filesPath(service, generation)), os.RemoveAll(h.generationPath(service, generation)))...)
}

// Tidy removes what other generations of a service than these left there, as happens
// when an agent or the host is killed.
func (h *Host) Tidy(service string, alive []int) {
	entries, _ := os.ReadDir(h.servicePath(service)) // nothing there is nothing left
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.Atoi(number); err == nil && !slices.Contains(alive, n) {
			h.Clear(service, n)
		}
	}
}
