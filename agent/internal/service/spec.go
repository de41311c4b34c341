package service

import "time"

// Spec is what an operator declares about one service. The agent stores it as
// JSON; a generation keeps the Spec it was started with.
type Spec struct {
	Name string `json:"name"`
	// Artifact is "sha256:HEX" for a stored artifact or "host:/PATH" for a
	// program that the host itself provides.
	Artifact string `json:"artifact"`
	// Command is the argv template; Args follow it. Placeholders of package
	// handover in them, and in Env, are expanded at each start.
	Command []string `json:"command,omitempty"`
	Args    []string `json:"args,omitempty"`
	// Files travel with the generation: digests of stored artifacts by file name.
	Files map[string]string `json:"files,omitempty"`
	// Credentials are files on the host that only the program gets to read: their
	// absolute paths by name.
	Credentials map[string]string `json:"credentials,omitempty"`
	// EnvFile on the host has more of Env; what Env says wins.
	EnvFile string `json:"env_file,omitempty"`
	// Env is added to the clean environment a program starts with.
	Env map[string]string `json:"env,omitempty"`
	// User runs the program when the agent is root; empty means the agent's own
	// user. Groups follow the user's entry in the host's database.
	User             string `json:"user,omitempty"`
	WorkingDirectory string `json:"working_directory,omitempty"`

	// Preset is a row of the preset table that filled in what was unset.
	Preset    string    `json:"preset,omitempty"`
	Handover  Handover  `json:"handover"`
	Sockets   []Socket  `json:"sockets,omitempty"`
	Readiness Readiness `json:"ready"`
	Upgrade   Upgrade   `json:"upgrade"`
	Drain     Drain     `json:"drain"`
	Restart   Restart   `json:"restart"`
	// KeepGenerations is how many ended generations stay available for a
	// rollback, with their artifacts.
	KeepGenerations int `json:"keep_generations"`
}

// Handover says how listening descriptors are announced to the program.
type Handover struct {
	// Dialect is a row of the handover table, such as "listen_fds".
	Dialect string `json:"dialect"`
	// Env is added to the environment; it and the argv may hold placeholders.
	Env map[string]string `json:"env,omitempty"`
}

// Socket is one listening socket of a service.
type Socket struct {
	Name    string  `json:"name"`
	Address Address `json:"address"`
	// Backlog is the listen queue's length; 0 means DefaultBacklog.
	Backlog int `json:"backlog,omitempty"`
	// Mode is the permission of a unix socket's path; nil leaves 0666 &^ umask
	// 0117, that is 0660.
	Mode *uint32 `json:"mode,omitempty"`
	// FreeBind allows an address the host does not hold yet (floating addresses).
	FreeBind bool `json:"freebind,omitempty"`
}

// Readiness says what proves that a new generation may receive connections.
// Exactly one of the kinds is set.
type Readiness struct {
	Timeout time.Duration `json:"timeout"`
	Probe
}

// Probe is one way to ask a program whether it works. Exactly one kind is set;
// Notify, AliveFor and ParentSignal make sense for readiness only.
type Probe struct {
	Notify bool `json:"notify,omitempty"`
	// ParentSignal is the signal by which programs of some dialects tell their
	// parent that they serve.
	ParentSignal bool          `json:"parent_signal,omitempty"`
	AliveFor     time.Duration `json:"alive_for,omitempty"`
	HTTP         *HTTPProbe    `json:"http,omitempty"`
	GRPC         *GRPCProbe    `json:"grpc,omitempty"`
	TCP          *TCPProbe     `json:"tcp,omitempty"`
	Exec         *ExecProbe    `json:"exec,omitempty"`
}

// HTTPProbe expects an answer with one of the statuses on a socket.
type HTTPProbe struct {
	Socket string `json:"socket"`
	Scheme string `json:"scheme,omitempty"` // http (default) or https
	Host   string `json:"host,omitempty"`
	Path   string `json:"path"`
	// Status is the wanted status; 0 means any from 200 to 399.
	Status int       `json:"status,omitempty"`
	TLS    *TLSProbe `json:"tls,omitempty"`
}

// GRPCProbe expects SERVING from grpc.health.v1 on a socket.
type GRPCProbe struct {
	Socket  string    `json:"socket"`
	Service string    `json:"service,omitempty"`
	TLS     *TLSProbe `json:"tls,omitempty"`
}

// TCPProbe expects the program to accept a connection of a socket.
type TCPProbe struct {
	Socket string    `json:"socket"`
	TLS    *TLSProbe `json:"tls,omitempty"` // also complete a handshake
}

// ExecProbe expects exit status 0 of a command, run as the service's user with
// GRACEFLEET_SERVICE and GRACEFLEET_GENERATION set.
type ExecProbe struct {
	Command []string `json:"command"`
}

// TLSProbe says how a probe speaks TLS.
type TLSProbe struct {
	ServerName string `json:"server_name,omitempty"`
	// CA is a PEM file on the host; empty means the host's roots.
	CA string `json:"ca,omitempty"`
	// SkipVerify accepts any certificate: the probe travels over loopback only.
	SkipVerify bool `json:"skip_verify,omitempty"`
}

// Upgrade says how a new generation takes over.
type Upgrade struct {
	Steps []Step `json:"steps,omitempty"`
	// Hold is how long each step lasts at least.
	Hold           time.Duration `json:"hold"`
	MinConnections int           `json:"min_connections,omitempty"`
	// StepTimeout bounds a step that waits for MinConnections.
	StepTimeout time.Duration `json:"step_timeout"`
	// Soak is how long the old generation stays on standby at weight 0.
	Soak time.Duration `json:"soak"`
	// RollbackWindow is how long after promotion a crash loop rolls back.
	RollbackWindow time.Duration `json:"rollback_window"`
	Check          *Check        `json:"check,omitempty"`
	// NoOverlap ends the old generation before the new one starts.
	NoOverlap bool `json:"no_overlap,omitempty"`
	// OverlapLimit is how long the old one may take to end then, and the new one
	// to be ready: connections wait meanwhile.
	OverlapLimit time.Duration `json:"overlap_limit,omitempty"`
}

// Step is one canary step.
type Step struct {
	// Weight is the candidate's share of new connections in basis points,
	// 1 to 9999.
	Weight int  `json:"weight"`
	Manual bool `json:"manual,omitempty"`
}

// Check judges a candidate from its first step to the end of the soak.
type Check struct {
	Probe
	Interval time.Duration `json:"interval"`
	// Failures in a row that abort the upgrade.
	Failures int `json:"failures"`
}

// DrainMode says when a superseded generation is told to end.
type DrainMode string

// The drain modes.
const (
	// DrainPatient waits for the generation's connections to end by themselves.
	DrainPatient DrainMode = "patient"
	// DrainSignal tells the program at once; for programs that lose nothing.
	DrainSignal DrainMode = "signal"
)

// Drain says how a superseded generation ends.
type Drain struct {
	Mode DrainMode `json:"mode"`
	// Patience bounds the wait of DrainPatient; 0 is unlimited.
	Patience time.Duration `json:"patience,omitempty"`
	// Nudge is how long a connection must have been idle for a patient drain to
	// close it; 0 is never.
	Nudge time.Duration `json:"nudge,omitempty"`
	// Signal is the drain signal's number.
	Signal int `json:"signal"`
	// Timeout counts from the signal; at its end the generation is killed.
	Timeout time.Duration `json:"timeout"`
	// CloseConnections has the connections reset at that end first, so that the
	// program may end by itself.
	CloseConnections bool `json:"close_connections,omitempty"`
	// MaxGenerations that may be alive at once, the active one included.
	MaxGenerations int `json:"max_generations"`
}

// RestartPolicy says whether a program that ended untold is started again.
type RestartPolicy string

// The restart policies.
const (
	RestartAlways    RestartPolicy = "always"
	RestartOnFailure RestartPolicy = "on_failure"
	RestartNever     RestartPolicy = "never"
)

// Restart says what happens when a program ends untold.
type Restart struct {
	Policy     RestartPolicy `json:"policy"`
	Backoff    time.Duration `json:"backoff"`
	MaxBackoff time.Duration `json:"max_backoff"`
	// Hold is how long connections queue on a slot that nobody serves before
	// they are refused.
	Hold time.Duration `json:"hold"`
}

// Defaults of a specification.
const (
	DefaultBacklog         = 4096
	DefaultReadyTimeout    = 30 * time.Second
	DefaultHold            = 10 * time.Second
	DefaultStepTimeout     = 10 * time.Minute
	DefaultSoak            = 10 * time.Second
	DefaultRollbackWindow  = 10 * time.Minute
	DefaultOverlapLimit    = 10 * time.Second
	DefaultCheckInterval   = 5 * time.Second
	DefaultCheckFailures   = 2
	DefaultDrainTimeout    = 30 * time.Second
	DefaultMaxGenerations  = 16
	DefaultBackoff         = 200 * time.Millisecond
	DefaultMaxBackoff      = 10 * time.Second
	DefaultRestartHold     = 5 * time.Second
	DefaultKeepGenerations = 5
)
