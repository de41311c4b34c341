package spec

// Key is one key of the service file.
type Key struct {
	// Path such as "sockets[].listen": [] stands for an element, NAME for a
	// name of the operator's choice.
	Path    string
	Type    string
	Default string
	Meaning string
}

// probeKeys are the keys that ready and upgrade.check share.
func probeKeys(at string) []Key {
	return []Key{
		{at + ".http", "mapping", "", "the proof: an HTTP answer"},
		{at + ".http.socket", "text", "the first stream socket", "socket to ask on"},
		{at + ".http.scheme", "http, https", "http", "protocol"},
		{at + ".http.host", "text", "the socket's address", "Host header"},
		{at + ".http.path", "text", "/", "path, such as /healthz"},
		{at + ".http.status", "number", "200 to 399", "status wanted"},
		{at + ".http.tls", "mapping", "", "as " + at + ".tls"},
		{at + ".grpc", "mapping", "", "the proof: SERVING from grpc.health.v1"},
		{at + ".grpc.socket", "text", "the first stream socket", "socket to ask on"},
		{at + ".grpc.service", "text", "the whole server", "name given to the health service"},
		{at + ".grpc.tls", "mapping", "", "as " + at + ".tls"},
		{at + ".tcp", "mapping", "", "the proof: the program accepted a connection"},
		{at + ".tcp.socket", "text", "the first stream socket", "socket to connect to"},
		{at + ".tcp.tls", "mapping", "", "as " + at + ".tls; the handshake must succeed too"},
		{at + ".exec", "mapping", "", "the proof: exit status 0 of a command"},
		{at + ".exec.command", "list", "required", "command, its program by absolute path"},
		{at + ".tls", "mapping", "", "the http, grpc or tcp proof speaks TLS"},
		{at + ".tls.server_name", "text", "the probe's host", "name to verify"},
		{at + ".tls.ca", "text", "the host's roots", "PEM file on the host with the roots to trust"},
		{at + ".tls.verify", "true, false", "true", "false accepts any certificate"},
	}
}

// Keys returns every key of the service file, in the order of the explanation.
func Keys() []Key {
	keys := []Key{
		{"name", "text", "required", "the service's name: 1 to 63 of a-z, 0-9, and . _ - between them"},
		{"command", "list", `["{artifact}"]`, "template of argv; {artifact} is the path of the executable; relative: a file of the artifact's tree"},
		{"artifact", "text", "the recorded one", "what to run: a path (pushed first; relative to this file; .tar, .tar.gz, .tgz: a tree), https://...#sha256=HEX (the agent fetches it), sha256:HEX, or host:/PATH for the host's own program"},
		{"args", "list", "", "arguments after the command"},
		{"files", "mapping", "", "files that travel with the generation, used as {file:NAME}"},
		{"files.NAME", "text", "", "path of the file, relative to this file"},
		{"credentials", "mapping", "", "secrets, as files in the directory that CREDENTIALS_DIRECTORY names, for the program's user alone; {credential:NAME} is the path of one"},
		{"credentials.NAME", "text", "", "absolute path of the file on the host; read at each start, nothing of it is kept or shown"},
		{"env", "mapping", "", "environment, added to the clean one that programs start with"},
		{"env.NAME", "text", "", "value, exactly as written"},
		{"env_file", "text", "", "file on the host with more environment; read at each start, nothing of it is kept or shown"},
		{"user", "text", "the agent's user", "user that runs the program, when the agent is root"},
		{"working_directory", "text", "/", "absolute directory on the host"},
		{"preset", "text", "", "name of a known program that fills in what is unset"},
		{"handover", "mapping", "", "how listening descriptors are announced"},
		{"handover.dialect", "text", "listen_fds", "name of the dialect"},
		{"handover.env", "mapping", "", "environment templates of the env dialect, such as FD: \"{fd:http}\""},
		{"handover.env.NAME", "text", "", "template"},
		{"sockets", "list", "", "listening sockets, in descriptor order from 3 up"},
		{"sockets[].name", "text", "required", "name, as in LISTEN_FDNAMES"},
		{"sockets[].listen", "text", "required", "tcp://IP:PORT, udp://IP:PORT or unix:///PATH"},
		{"sockets[].backlog", "number", "4096", "length of the accept queue"},
		{"sockets[].mode", "octal", "0660", "permission of a unix socket's path"},
		{"sockets[].v6only", "true, false", "false", "[::] takes no IPv4 connections"},
		{"sockets[].freebind", "true, false", "false", "bind an address that the host does not hold yet"},
		{"sockets[].device", "text", "", "network device that connections must arrive on"},
		{"ready", "mapping", "tcp on the first stream socket", "what proves a new generation before it gets a connection; one proof at most"},
		{"ready.timeout", "duration", "30s", "limit from the start until ready"},
		{"ready.notify", "nothing", "", "the proof: READY=1 on NOTIFY_SOCKET"},
		{"ready.parent_signal", "nothing", "", "the proof: a signal to the parent, as facebookgo/grace sends"},
		{"ready.alive_for", "duration", "", "the proof: still alive this long after its start"},
	}
	keys = append(keys, probeKeys("ready")...)
	keys = append(keys, []Key{
		{"upgrade", "mapping", "", "how a new generation takes over"},
		{"upgrade.steps", "list", "none: switch at once", "canary steps: shares of new connections, such as [1%, 10%]"},
		{"upgrade.steps[].weight", "percent", "required", "share, for a step written as a mapping"},
		{"upgrade.steps[].manual", "true, false", "false", "wait for gracectl promote --step"},
		{"upgrade.hold", "duration", "10s", "how long each step lasts at least"},
		{"upgrade.min_connections", "number", "0", "connections that each step must see"},
		{"upgrade.step_timeout", "duration", "10m", "limit of a step that waits for connections"},
		{"upgrade.soak", "duration", "10s", "how long the old generation stays on standby"},
		{"upgrade.rollback_window", "duration", "10m", "how long after promotion a crash loop rolls back by itself"},
		{"upgrade.overlap", "full, none", "full", "none: the old generation ends before the new one starts"},
		{"upgrade.overlap_limit", "duration", "10s", "without overlap: how long the old one may take to end, and the new one to be ready"},
		{"upgrade.check", "mapping", "", "judges the new generation from its first step to the end of the soak; one proof"},
		{"upgrade.check.interval", "duration", "5s", "time between two attempts"},
		{"upgrade.check.failures", "number", "2", "failures in a row that abort"},
	}...)
	keys = append(keys, probeKeys("upgrade.check")...)
	return append(keys, []Key{
		{"drain", "mapping", "", "how a superseded generation ends"},
		{"drain.mode", "patient, signal", "patient", "patient: when its connections have ended by themselves; signal: told at once"},
		{"drain.patience", "duration", "unlimited", "bound of the patient wait"},
		{"drain.nudge", "duration", "never", "idle time after which a patient drain closes keep-alive connections"},
		{"drain.signal", "text", "SIGTERM", "signal that tells the program to end"},
		{"drain.timeout", "duration", "30s", "limit from the signal to the kill"},
		{"drain.max_generations", "number", "16", "generations that may live at once, the active one included"},
		{"drain.at_deadline", "kill, close_connections", "kill", "what happens at the limit"},
		{"restart", "mapping", "", "what happens when a program ends untold"},
		{"restart.policy", "always, on_failure, never", "always", "when it is started again"},
		{"restart.backoff", "duration", "200ms", "wait before the first restart; it doubles"},
		{"restart.max_backoff", "duration", "10s", "longest wait between two restarts"},
		{"restart.hold", "duration", "5s", "how long connections queue while nobody serves, before they are refused"},
		{"keep_generations", "number", "5", "ended generations that stay available for a rollback"},
	}...)
}
