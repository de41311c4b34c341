package preflight

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listener is a listening tcp socket of the room.
type listener struct {
	address netip.AddrPort
	inode   string
}

// listeners reads /proc/net/tcp and tcp6 (proc(5)).
func listeners() []listener {
	var all []listener
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			const listening = "0A"
			if len(f) < 10 || f[3] != listening {
				continue
			}
			if a, ok := kernelAddress(f[1]); ok {
				all = append(all, listener{a, f[9]})
			}
		}
	}
	return all
}

// kernelAddress reads HEXADDRESS:HEXPORT, the address in 32-bit words of the
// machine's order.
func kernelAddress(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	number, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip, uint16(number)), ok
}

// undeclared are listeners that the service file does not name.
func undeclared(declared []string) []string {
	var out []string
	for _, l := range listeners() {
		named := slices.ContainsFunc(declared, func(d string) bool {
			a, err := netip.ParseAddrPort(d)
			return err == nil && a.Port() == l.address.Port() && (a.Addr().Unmap() == l.address.Addr().Unmap() || a.Addr().IsUnspecified())
		})
		if text := "tcp " + l.address.String(); !named && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// blocking says whether a process holds one of the listeners without O_NONBLOCK,
// a flag that all generations share.
func blocking(pid int32) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	open := listeners()
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || !slices.ContainsFunc(open, func(l listener) bool { return link == "socket:["+l.inode+"]" }) {
			continue
		}
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, e.Name()))
		if err == nil && !nonblocking(string(info)) {
			return true
		}
	}
	return false
}

// nonblocking reads the octal flags of /proc/PID/fdinfo/FD.
func nonblocking(info string) bool {
	const flag = 0o4000
	for line := range strings.Lines(info) {
		if text, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(text), 8, 64)
			return err == nil && flags&flag != 0
		}
	}
	return true
}
