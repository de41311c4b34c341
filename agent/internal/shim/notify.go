package shim

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxDatagram = 16 << 10
	maxText     = 4 << 10
	maxExtra    = 16
	// extraPrefix marks variables of our own library.
	extraPrefix = "X_GRACEFLEET_"
	// After burst datagrams without a pause the reader rests, so that a program
	// gone wild cannot drown the agent: its own sends block meanwhile.
	burst     = 64
	burstRest = 10 * time.Millisecond
)

// notification is what one datagram says (sd_notify(3)). MAINPID, FDSTORE and
// the like are not heeded: the main process is the one that was started.
type notification struct {
	ready, stopping, reloading bool
	hasStatus                  bool
	status                     string
	extra                      []string // KEY=VALUE
}

func parseNotification(b []byte) notification {
	var n notification
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			continue
		}
		switch {
		case key == "READY":
			n.ready = n.ready || value == "1"
		case key == "STOPPING":
			n.stopping = n.stopping || value == "1"
		case key == "RELOADING":
			n.reloading = n.reloading || value == "1"
		case key == "STATUS":
			n.hasStatus, n.status = true, text(value)
		case strings.HasPrefix(key, extraPrefix) && len(key) <= 64 && len(n.extra) < maxExtra:
			n.extra = append(n.extra, text(key)+"="+text(value))
		}
	}
	return n
}

// text makes a program's words fit to keep.
func text(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
}

// bindNotify binds the program's NOTIFY_SOCKET, reachable for any user: what
// counts is the sender's pid, which the kernel attests.
func (s *server) bindNotify() (*os.File, error) {
	path := NotifyPath(s.in.Directory)
	os.Remove(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Chmod(path, 0o666)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err != nil {
		return nil, fmt.Errorf("bind the notify socket %s: %w", path, err)
	}
	s.notifyFD = fd
	return os.NewFile(uintptr(fd), path), nil
}

func (s *server) receiveNotifications(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		fmt.Fprintln(os.Stderr, "graced-shim: notify socket:", err)
		return
	}
	for {
		var n int
		if err := raw.Read(func(uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			n = s.drainNotifications(burst)
			return n > 0
		}); err != nil {
			return
		}
		if n == burst {
			time.Sleep(burstRest)
		}
	}
}

// drainNotifications handles what is queued, at most limit datagrams. It is also
// called before an exit is recorded: last words count. The caller holds mu.
func (s *server) drainNotifications(limit int) int {
	b := make([]byte, maxDatagram)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(packetFiles*4))
	for done := range limit {
		n, oobn, _, _, err := unix.Recvmsg(s.notifyFD, b, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return done
		}
		pid := senderPID(oob[:oobn])
		// Barriers and stored descriptors: closing them is the answer.
		if files, _ := receivedFiles(oob[:oobn]); files != nil {
			closeAll(files)
		}
		s.notified(pid, parseNotification(b[:n]))
	}
	return limit
}

func senderPID(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return int(cred.Pid)
		}
	}
	return 0
}

// notified records what a process said. Only the main process speaks for the
// program; of others it is noted that they claimed to be ready, once of each.
func (s *server) notified(pid int, n notification) {
	c := s.state.Current
	if !c.Alive() || pid != c.Process.PID {
		if n.ready && c != nil && len(c.ReadyIgnored) < maxRemembered && !slices.Contains(c.ReadyIgnored, pid) {
			c.ReadyIgnored = append(c.ReadyIgnored, pid)
			s.emit(Event{Kind: EventReadyIgnored, PID: pid})
		}
		return
	}
	if n.hasStatus && n.status != c.Status {
		c.Status = n.status
		s.emit(Event{Kind: EventStatus, PID: pid, Text: n.status})
	}
	s.keepExtra(c, n.extra)
	if n.reloading {
		s.emit(Event{Kind: EventReloading, PID: pid})
	}
	switch {
	case n.ready && c.Ready: // after a reload
		c.ReadyAt = time.Now()
		s.emit(Event{Kind: EventReady, PID: pid, Time: c.ReadyAt})
	case n.ready:
		s.becameReady(c)
	}
	if n.stopping && !c.Stopping {
		c.Stopping = true
		s.emit(Event{Kind: EventStopping, PID: pid})
	}
}

func (s *server) keepExtra(c *Instance, extra []string) {
	for _, kv := range extra {
		key, value, _ := strings.Cut(kv, "=")
		old, known := c.Extra[key]
		if (known && old == value) || (!known && len(c.Extra) >= maxExtra) {
			continue
		}
		if c.Extra == nil {
			c.Extra = map[string]string{}
		}
		c.Extra[key] = value
		s.emit(Event{Kind: EventExtra, PID: c.Process.PID, Text: kv})
	}
}

// becameReady records that an instance said so, by whatever way. The caller holds
// mu.
func (s *server) becameReady(c *Instance) {
	if !c.Alive() || c.Ready {
		return
	}
	c.Ready, c.ReadyAt = true, time.Now()
	s.emit(Event{Kind: EventReady, PID: c.Process.PID, Time: c.ReadyAt})
}
