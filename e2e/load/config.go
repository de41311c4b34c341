package load

import (
	"strings"
	"time"
)

// Config says what to send. Rates of 0 or less switch that kind of load off.
type Config struct {
	// Address is HOST:PORT, or unix:PATH, or an absolute path.
	Address string
	// Path of the requests; "/" when empty.
	Path string
	// Fresh is how many requests a second open a connection of their own.
	Fresh float64
	// KeepAlive is how many requests a second travel on Connections lasting
	// connections, together.
	KeepAlive float64
	// Connections defaults to 20.
	Connections int
	// Timeout of one request, from its appointed time; 5 s when 0.
	Timeout time.Duration
	// OnAnswer, when set, hears of each good answer. It is called from many
	// goroutines and must not block.
	OnAnswer func(Answer)
}

// Answer is one good answer.
type Answer struct {
	// Generation as the service named itself, "" if it did not.
	Generation string
	Fresh      bool
	// Due is when the request was to leave, At when its answer was complete.
	Due, At time.Time
}

func (c Config) withDefaults() Config {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.Connections <= 0 {
		c.Connections = 20
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	return c
}

// target splits Address into what net.Dial takes.
func (c Config) target() (network, address string) {
	if path, ok := strings.CutPrefix(c.Address, "unix:"); ok {
		return "unix", strings.TrimPrefix(path, "//")
	}
	if strings.HasPrefix(c.Address, "/") {
		return "unix", c.Address
	}
	return "tcp", c.Address
}
