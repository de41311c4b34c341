package agent

import (
	"net"
	"os"

	"github.com/hashicorp/go-hclog"
)

// notify tells systemd, sd_notify(3). Without NOTIFY_SOCKET nobody listens.
func notify(log hclog.Logger, state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		log.Warn("systemd cannot be told", "error", err)
		return
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		log.Warn("systemd cannot be told", "error", err)
	}
}
