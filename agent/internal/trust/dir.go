package trust

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Dir says what is wrong with a directory of the agent's own, by its absolute path: it
// must be one and no link to one, belong to the agent's user, and nobody else may write
// to it or decide where its path leads.
func Dir(path string) error {
	d, err := walk(path, false)
	if err != nil {
		return err
	}
	defer d.close()
	switch mode := d.stat.Mode & 0o7777; {
	case d.is(unix.S_IFLNK):
		return fmt.Errorf("%s is a symbolic link: name the directory itself", path)
	case !d.is(unix.S_IFDIR):
		return fmt.Errorf("%s is not a directory", path)
	case int(d.stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d, the agent runs as uid %d: chown it or use another", path, d.stat.Uid, os.Geteuid())
	case mode&0o022 != 0:
		return fmt.Errorf("%s has mode %04o: others could plant programs in it; chmod go-w it and check its contents", path, mode)
	}
	return nil
}
