package handover

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ListenFDs is systemd's socket activation, sd_listen_fds(3): the default.
const ListenFDs = "listen_fds"

// Dialect is one way to tell a program about its descriptors.
type Dialect struct {
	Name string
	// Programs that speak it.
	Programs string
	// Tells is how it announces descriptors, in words.
	Tells string
	// Speaks says that its programs tell by themselves when they are ready: by
	// READY=1, or in their own way, which "ready: {notify: {}}" covers.
	Speaks bool
	// ParentSignals are sent to the parent by a program that serves.
	ParentSignals []syscall.Signal
	// Drain is the signal by which its programs end gracefully.
	Drain syscall.Signal
	// Blocking programs call accept(2) and wait; those of other dialects set
	// O_NONBLOCK themselves, or want it set.
	Blocking bool
	// Compares says that its programs look for the socket by address: what the
	// program is told to listen on must be what the service file says.
	Compares bool
	// Trap is what to know before using it.
	Trap string

	leading  int // descriptors before the sockets
	announce func(sockets []Socket, generation int) Announcement
}

// dialects is the table, in the order in which it is shown.
var dialects = []Dialect{
	{
		Name: ListenFDs, Programs: "systemd socket activation: go-systemd, gunicorn, unicorn, puma, our library",
		Tells: "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", Speaks: true, Drain: syscall.SIGTERM,
		announce: func(s []Socket, _ int) Announcement {
			names := each(s, ":", func(s Socket) string { return s.Name })
			return Announcement{Env: []string{"LISTEN_FDS=" + count(s), "LISTEN_FDNAMES=" + names}, PIDEnv: []string{"LISTEN_PID"}}
		},
	},
	{
		Name: "env", Programs: "anything that takes a number from its environment or arguments",
		Tells: "what handover.env and args say with {fd:NAME}, {fds}, {addr:NAME}", Speaks: true, Drain: syscall.SIGTERM, Blocking: true,
		Trap: "the drain signal is the program's own affair: say drain.signal",
	},
	{
		Name: "nginx", Programs: "nginx, OpenResty, tengine",
		Tells: "NGINX=3;4;", Drain: syscall.SIGQUIT, Compares: true,
		Trap: "every listen of its configuration must be a socket of the same address; a pid directive in it collides",
		announce: func(s []Socket, _ int) Announcement {
			return Announcement{Env: []string{"NGINX=" + each(s, ";", fd) + ";"}}
		},
	},
	{
		Name: "haproxy", Programs: "HAProxy",
		Tells: "FD1=3, FD2=4, ... for bind \"fd@${FD1}\"", Drain: syscall.SIGUSR1,
		Trap: "LISTEN_FDS is not heeded: the configuration must name fd@; TERM cuts connections",
		announce: func(s []Socket, _ int) Announcement {
			a := Announcement{}
			for i, x := range s {
				a.Env = append(a.Env, "FD"+strconv.Itoa(i+1)+"="+fd(x))
			}
			return a
		},
	},
	{
		Name: "gracehttp", Programs: "facebookgo/grace: gracehttp, gracenet",
		Tells: "LISTEN_FDS, without LISTEN_PID", ParentSignals: []syscall.Signal{syscall.SIGTERM}, Drain: syscall.SIGTERM, Compares: true,
		Trap: "it sends SIGTERM to its parent once it serves: absorbed here, and taken for ready; gracenet alone sends nothing",
		announce: func(s []Socket, _ int) Announcement {
			return Announcement{Env: []string{"LISTEN_FDS=" + count(s)}}
		},
	},
	{
		Name: "beego", Programs: "beego's grace",
		Tells: "--graceful --socketorder=ADDR,ADDR", ParentSignals: []syscall.Signal{syscall.SIGTERM}, Drain: syscall.SIGTERM, Compares: true,
		Trap: "the program must call flag.Parse; it sends SIGTERM to its parent",
		announce: func(s []Socket, _ int) Announcement {
			return Announcement{Args: []string{"--graceful", "--socketorder=" + each(s, ",", Socket.short)}}
		},
	},
	{
		Name: "endless", Programs: "fvbock/endless",
		Tells: "ENDLESS_CONTINUE=1, ENDLESS_SOCKET_ORDER=ADDR,ADDR", ParentSignals: []syscall.Signal{syscall.SIGTERM}, Drain: syscall.SIGTERM, Compares: true,
		Trap: "an address it does not know becomes descriptor 3; it sends SIGTERM to its parent",
		announce: func(s []Socket, _ int) Announcement {
			return Announcement{Env: []string{"ENDLESS_CONTINUE=1", "ENDLESS_SOCKET_ORDER=" + each(s, ",", Socket.short)}}
		},
	},
	{
		Name: "overseer", Programs: "jpillora/overseer",
		Tells: "OVERSEER_IS_SLAVE=1, OVERSEER_NUM_FDS", Drain: syscall.SIGUSR2,
		Trap: "the number of addresses in the program must be that of the sockets; it sends SIGUSR1 to its parent when it drains",
		announce: func(s []Socket, generation int) Announcement {
			return Announcement{Env: []string{
				"OVERSEER_IS_SLAVE=1", "OVERSEER_SLAVE_ID=" + strconv.Itoa(generation), "OVERSEER_NUM_FDS=" + count(s),
				"OVERSEER_BIN_ID=gracefleet", "OVERSEER_BIN_PATH={artifact}",
			}}
		},
	},
	{
		Name: "tableflip", Programs: "cloudflare/tableflip",
		Tells: "a gob of names on descriptor 4, sockets from 5", Speaks: true, Drain: syscall.SIGTERM, Compares: true, leading: 2,
		Trap: "what ends it is the program's own affair: it must call Stop or Exit; its Stop removes unix paths",
		announce: func(s []Socket, _ int) Announcement {
			a := Announcement{Env: []string{"TABLEFLIP_HAS_PARENT_7DIU3=yes"}}
			for _, x := range s {
				kind := "listener"
				if x.Network == "udp" {
					kind = "packet"
				}
				a.Names = append(a.Names, []string{kind, x.Network, x.short()})
			}
			return a
		},
	},
	{
		Name: "server_starter", Programs: "Server::Starter: starman, Starlet, go-server-starter",
		Tells: "SERVER_STARTER_PORT=HOST:PORT=FD;..., SERVER_STARTER_GENERATION", Drain: syscall.SIGTERM,
		Trap: "starman ends gracefully by QUIT",
		announce: func(s []Socket, generation int) Announcement {
			return Announcement{Env: []string{
				"SERVER_STARTER_PORT=" + each(s, ";", func(s Socket) string { return s.Address() + "=" + fd(s) }),
				"SERVER_STARTER_GENERATION=" + strconv.Itoa(generation),
			}}
		},
	},
	{
		Name: "einhorn", Programs: "stripe/einhorn workers, goji's bind",
		Tells: "EINHORN_FD_COUNT, EINHORN_FD_0, ...", Speaks: true, Drain: syscall.SIGUSR2,
		Trap: "goji dies of TERM at once",
		announce: func(s []Socket, _ int) Announcement {
			a := Announcement{Env: []string{"EINHORN_FD_COUNT=" + count(s)}, ParentPIDEnv: []string{"EINHORN_MASTER_PID"}, AckEnv: "EINHORN_SOCK_PATH"}
			for i, x := range s {
				family := "AF_INET"
				if strings.Contains(x.Host, ":") {
					family = "AF_INET6"
				}
				if x.Path != "" {
					family = "AF_UNIX"
				}
				n := strconv.Itoa(i)
				a.Env = append(a.Env, "EINHORN_FD_"+n+"="+fd(x), "EINHORN_FD_FAMILY_"+n+"="+family)
			}
			return a
		},
	},
	{
		Name: "graceful", Programs: "kuangchanglang/graceful",
		Tells: "GRACEFUL_WORKER=1, GRACEFUL_NUMFD", Drain: syscall.SIGTERM,
		Trap: "the number of servers in the program must be that of the sockets",
		announce: func(s []Socket, _ int) Announcement {
			return Announcement{Env: []string{"GRACEFUL_WORKER=1", "GRACEFUL_NUMFD=" + count(s)}, ParentPIDEnv: []string{"GRACEFUL_PARENT_PID"}}
		},
	},
	{
		Name: "goagain", Programs: "rcrowley/goagain",
		Tells: "GOAGAIN_FD, GOAGAIN_NAME, GOAGAIN_PPID, GOAGAIN_SIGNAL=0", Drain: syscall.SIGQUIT,
		Trap: "one socket only; USR2 panics with a recent Go",
		announce: func(s []Socket, _ int) Announcement {
			x := s[0]
			return Announcement{
				Env:          []string{"GOAGAIN_FD=" + fd(x), "GOAGAIN_NAME=" + x.Network + ":" + x.Address() + "->", "GOAGAIN_PID=", "GOAGAIN_SIGNAL=0"},
				ParentPIDEnv: []string{"GOAGAIN_PPID"},
			}
		},
	},
}

// Dialects is the table.
func Dialects() []Dialect { return slices.Clone(dialects) }

// DialectNames are the names of all.
func DialectNames() []string {
	var names []string
	for _, d := range dialects {
		names = append(names, d.Name)
	}
	return names
}

// FindDialect is the dialect of a name.
func FindDialect(name string) (Dialect, bool) {
	for _, d := range dialects {
		if d.Name == name {
			return d, true
		}
	}
	return Dialect{}, false
}
