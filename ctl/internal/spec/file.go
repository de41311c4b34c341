package spec

import "time"

// File is one service file. Pointers and nil slices are keys that the file
// leaves out: the agent fills in their defaults.
type File struct {
	Name             string
	Command          []string
	Artifact         Artifact
	Args             []string
	Files            map[string]string // name to path on this machine
	Credentials      map[string]string // name to path on the host
	Env              map[string]string
	EnvFile          string
	User             string
	WorkingDirectory string
	Preset           string
	Handover         *Handover
	Sockets          []Socket
	Ready            *Ready
	Upgrade          *Upgrade
	Drain            *Drain
	Restart          *Restart
	KeepGenerations  *int32
}

// Artifact is what to run. At most one of Path, Ref and URL is set.
type Artifact struct {
	// Path of a local file, to be pushed. A relative path of the service file
	// is relative to that file's directory; Path is relative to the working
	// directory, or absolute.
	Path string
	// Ref is "sha256:HEX" or "host:/PATH", which the agent resolves.
	Ref string
	// URL is where the agent fetches it, and Digest what that has to be.
	URL, Digest string
}

// Handover says how listening descriptors are announced.
type Handover struct {
	Dialect string
	Env     map[string]string
}

// Socket is one listening socket.
type Socket struct {
	Name     string
	Listen   string
	Backlog  int32
	Mode     *uint32
	V6Only   bool
	FreeBind bool
	Device   string
}

// Ready says what proves a new generation.
type Ready struct {
	Timeout *time.Duration
	Probe   *Probe
}

// Probe is one way to ask a program whether it works. Exactly one of its kinds
// is set.
type Probe struct {
	Notify       bool
	ParentSignal bool
	AliveFor     *time.Duration
	HTTP         *HTTPProbe
	GRPC         *GRPCProbe
	TCP          *TCPProbe
	Exec         *ExecProbe
}

// HTTPProbe expects an HTTP answer.
type HTTPProbe struct {
	Socket, Scheme, Host, Path string
	Status                     int32
	TLS                        *TLS
}

// GRPCProbe expects SERVING from the gRPC health service.
type GRPCProbe struct {
	Socket, Service string
	TLS             *TLS
}

// TCPProbe expects the program to accept a connection.
type TCPProbe struct {
	Socket string
	TLS    *TLS
}

// ExecProbe expects exit status 0 of a command.
type ExecProbe struct {
	Command []string
}

// TLS says how a probe speaks TLS.
type TLS struct {
	ServerName, CA string
	SkipVerify     bool
}

// Upgrade says how a new generation takes over.
type Upgrade struct {
	Steps          []Step
	Hold           *time.Duration
	MinConnections int32
	StepTimeout    *time.Duration
	Soak           *time.Duration
	RollbackWindow *time.Duration
	Check          *Check
	Overlap        string
	OverlapLimit   *time.Duration
}

// Step is one canary step; Weight is in basis points, 1 to 9999.
type Step struct {
	Weight int32
	Manual bool
}

// Check judges a candidate.
type Check struct {
	Probe    *Probe
	Interval *time.Duration
	Failures int32
}

// Drain says how a superseded generation ends.
type Drain struct {
	Mode           string
	Patience       *time.Duration
	Nudge          *time.Duration
	Signal         string
	Timeout        *time.Duration
	MaxGenerations int32
	AtDeadline     string
}

// Restart says what happens when a program ends untold.
type Restart struct {
	Policy     string
	Backoff    *time.Duration
	MaxBackoff *time.Duration
	Hold       *time.Duration
}
