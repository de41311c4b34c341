package gracefleet

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// ErrUnclaimed is returned by Ready when the parent left a socket that the
// program did not ask for: its clients would wait in a queue that nobody
// serves.
var ErrUnclaimed = errors.New("inherited sockets that no Listen or ListenPacket asked for")

// notifyTimeout bounds one message to a parent that does not read.
const notifyTimeout = time.Second

// notifier sends datagrams as sd_notify(3) describes. The zero value has no
// parent to tell and does nothing.
type notifier struct{ path string }

// send dials each time: a parent that was replaced listens on a new socket
// behind the same path.
func (n notifier) send(fields ...string) error {
	if n.path == "" {
		return nil
	}
	c, err := net.DialTimeout("unixgram", n.path, notifyTimeout)
	if err != nil {
		return fmt.Errorf("tell the parent: %w", err)
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return fmt.Errorf("tell the parent: %w", err)
	}
	for i := range fields {
		fields[i] = oneLine(fields[i])
	}
	if _, err := c.Write([]byte(strings.Join(fields, "\n"))); err != nil {
		return fmt.Errorf("tell the parent: %w", err)
	}
	return nil
}

// maxField keeps a message far below the limit of a datagram.
const maxField = 1024

// oneLine makes text fit for one field: a line break would begin another.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == 0 {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxField {
		s = strings.ToValidUTF8(s[:maxField], "")
	}
	return s
}

// Ready tells the parent that the program may receive connections; call it
// after the warm-up, once every listener is served. It fails with ErrUnclaimed
// when a socket was left over, and tells the parent so instead, and with the
// cause when the parent cannot be reached. Without a parent it does nothing.
func (s *Service) Ready() error {
	if left := s.unclaimed(); len(left) > 0 {
		err := fmt.Errorf("%w: %s: serve them, or remove them from the service file", ErrUnclaimed, strings.Join(left, ", "))
		s.Fail(err.Error())
		return err
	}
	return s.notify.send("READY=1", "STATUS=ready")
}

// Fail tells the parent that this generation is no good, with the reason to
// show: graced then aborts the upgrade, if one is under way, and gives the
// connections back to the generation before. The program itself goes on.
func (s *Service) Fail(reason string) {
	if err := s.notify.send("X_GRACEFLEET_FAIL="+reason, "STATUS=failed: "+reason); err != nil {
		s.opts.Logf("gracefleet: %v (failed: %s)", err, reason)
	}
}
