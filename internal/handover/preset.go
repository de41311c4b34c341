package handover

import (
	"slices"
	"syscall"
)

// Preset is what a well-known program needs. Keys of the service file win.
type Preset struct {
	Name string
	// Programs it is for.
	Programs string
	Dialect  string
	// Command is the argv before the service's args; nil is the executable alone.
	Command []string
	Env     map[string]string
	// Ready is the readiness key: notify, parent_signal, or tcp on the first socket.
	Ready string
	// Patient generations are left until their connections have ended; the others
	// lose nothing by their drain signal.
	Patient bool
	Drain   syscall.Signal
	// Reload is the signal by which it reads its configuration again; 0: it cannot.
	Reload syscall.Signal
	// Wrong is a signal that looks right and cuts connections; 0: none is known.
	Wrong syscall.Signal
	// Notes say what its own configuration must have, and its traps.
	Notes []string
}

// What Preset.Ready may be.
const (
	ReadyNotify = "notify"
	ReadySignal = "parent_signal"
	ReadyTCP    = "tcp"
)

var presets = []Preset{
	{
		Name: "gracefleet", Programs: "programs on our library", Dialect: ListenFDs, Ready: ReadyNotify, Drain: syscall.SIGTERM,
		Notes: []string{"Drains without losing a request, so it is told to at once."},
	},
	{
		Name: "nginx", Programs: "nginx, http and stream", Dialect: "nginx",
		Command: []string{"{artifact}", "-g", "daemon off; pid {generation_dir}/nginx.pid;"},
		Ready:   ReadyTCP, Patient: true, Drain: syscall.SIGQUIT, Reload: syscall.SIGHUP, Wrong: syscall.SIGTERM,
		Notes: []string{
			"Take pid and daemon out of the configuration: they are set here, a pid file for each generation.",
			"Each listen must be a socket of exactly that address: listen 127.0.0.1:8080 does not take a socket of 0.0.0.0:8080; nginx -t does not notice.",
			"USR2 is not used: upgrade, promote, abort and rollback do what USR2, QUIT, WINCH and HUP did.",
			"listen ... reuseport makes sockets of its own: leave it out.",
		},
	},
	{
		Name: "haproxy", Programs: "HAProxy, with -W or -Ws", Dialect: "haproxy",
		Command: []string{"{artifact}", "-W"},
		Ready:   ReadyTCP, Patient: true, Drain: syscall.SIGUSR1, Wrong: syscall.SIGTERM,
		Notes: []string{
			"Write bind \"fd@${FD1}\" for the first socket, fd@${FD2} for the second.",
			"Take pidfile, daemon and stats sockets with a fixed path out of the configuration, or give them {generation_dir}.",
		},
	},
	{
		Name: "gunicorn", Programs: "gunicorn, sync and gthread", Dialect: ListenFDs,
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGTERM, Reload: syscall.SIGHUP, Wrong: syscall.SIGQUIT,
		Notes: []string{
			"Give no --bind: fd:// unlinks a unix path when it drains.",
			"QUIT is its fast stop. gthread resets kept connections when told to end, which patient avoids.",
		},
	},
	{
		Name: "uwsgi", Programs: "uWSGI", Dialect: "env",
		Command: []string{"{artifact}", "--hook-master-start", "unix_signal:15 gracefully_kill_them_all"},
		Ready:   ReadyTCP, Patient: true, Drain: syscall.SIGTERM, Reload: syscall.SIGHUP,
		Notes: []string{"Say --http-socket fd://{fd:http} in args. --die-on-term cuts requests: leave it out."},
	},
	{
		Name: "unicorn", Programs: "unicorn", Dialect: ListenFDs,
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGQUIT, Reload: syscall.SIGHUP, Wrong: syscall.SIGTERM,
		Notes: []string{"Give -l the same address as the socket. TERM is its fast stop."},
	},
	{
		Name: "puma", Programs: "puma", Dialect: ListenFDs,
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGTERM,
		Notes: []string{"Give -b the same address as the socket. It ends by the signal itself: that is no failure."},
	},
	{
		Name: "starman", Programs: "starman, Starlet and other PSGI servers", Dialect: "server_starter",
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGQUIT, Wrong: syscall.SIGTERM,
		Notes: []string{"Never ends kept connections by itself: only clients that leave let it drain."},
	},
	{
		Name: "server_starter", Programs: "programs for Server::Starter", Dialect: "server_starter",
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGTERM,
	},
	{
		Name: "node", Programs: "node with listen({fd: 3})", Dialect: "env",
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGTERM,
		Notes: []string{
			"listen({fd: Number(process.env.FD)}) with handover.env {FD: \"{fd:http}\"}, or simply 3.",
			"Handle SIGTERM with server.close(), or it dies at once.",
		},
	},
	{
		Name: "caddy", Programs: "Caddy 2.10 and later", Dialect: "env",
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGTERM, Wrong: syscall.SIGINT,
		Notes: []string{"Write bind fd/3 in the Caddyfile, and admin off or an admin socket in {generation_dir}. Older versions cannot."},
	},
	{
		Name: "python", Programs: "Python's asyncio, socketserver, uvicorn --fd", Dialect: "env",
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGTERM,
		Notes: []string{"socket.socket(fileno=int(os.environ[\"FD\"])) with handover.env {FD: \"{fd:http}\"}."},
	},
	{
		Name: "go-systemd", Programs: "Go programs with activation.Listeners()", Dialect: ListenFDs,
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGTERM,
		Notes: []string{"http.Server.Shutdown loses requests that arrive while it begins: patient avoids that."},
	},
	{
		Name: "gracehttp", Programs: "facebookgo/grace", Dialect: "gracehttp",
		Ready: ReadySignal, Patient: true, Drain: syscall.SIGTERM,
		Notes: []string{"Its own USR2 is not used. A second TERM kills it."},
	},
	{
		Name: "beego", Programs: "beego with EnableGraceful", Dialect: "beego",
		Ready: ReadySignal, Patient: true, Drain: syscall.SIGTERM,
	},
	{
		Name: "endless", Programs: "fvbock/endless", Dialect: "endless",
		Ready: ReadySignal, Patient: true, Drain: syscall.SIGTERM,
	},
	{
		Name: "overseer", Programs: "jpillora/overseer", Dialect: "overseer",
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGUSR2,
	},
	{
		Name: "tableflip", Programs: "cloudflare/tableflip", Dialect: "tableflip",
		Ready: ReadyNotify, Patient: true, Drain: syscall.SIGTERM,
		Notes: []string{"Ready() is heard; the program's own Upgrade is not used."},
	},
	{
		Name: "einhorn", Programs: "einhorn workers", Dialect: "einhorn",
		Ready: ReadyNotify, Patient: true, Drain: syscall.SIGUSR2, Wrong: syscall.SIGTERM,
		Notes: []string{"The worker must acknowledge; one that does not takes ready: {tcp: {socket: ...}}."},
	},
	{
		Name: "graceful", Programs: "kuangchanglang/graceful", Dialect: "graceful",
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGTERM,
	},
	{
		Name: "goagain", Programs: "rcrowley/goagain", Dialect: "goagain",
		Ready: ReadyTCP, Patient: true, Drain: syscall.SIGQUIT,
	},
}

// Presets is the table.
func Presets() []Preset { return slices.Clone(presets) }

// PresetNames are the names of all.
func PresetNames() []string {
	var names []string
	for _, p := range presets {
		names = append(names, p.Name)
	}
	return names
}

// FindPreset is the preset of a name.
func FindPreset(name string) (Preset, bool) {
	for _, p := range presets {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}
