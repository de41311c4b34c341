// Command graced-shim holds the sockets of one generation and runs its program,
// so that both outlive the agent. graced starts it; it is not for use by hand.
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/gracefleet/gracefleet/agent/internal/shim"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "graced-shim:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "run":
		return shim.Run(args[1])
	case len(args) == 2 && args[0] == "exec":
		fd, err := strconv.Atoi(args[1])
		if err != nil {
			return fmt.Errorf("exec: %q is not a descriptor", args[1])
		}
		return shim.Exec(fd)
	case len(args) == 1 && args[0] == "version":
		_, err := fmt.Println("graced-shim protocol", shim.Version)
		return err
	}
	return fmt.Errorf("usage: graced-shim run DIRECTORY | exec FD | version (started by graced)")
}
