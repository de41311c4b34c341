//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// known is a program that a preset is for, as a user would declare it. DIR is the
// service's own directory, PORT and ADDRESS where it listens.
type known struct {
	// version has the program say its own.
	version string
	// slow programs are asked a tenth as often.
	slow bool
	// underLoad says that the wrong signal cuts what arrives at that instant only.
	underLoad bool
	// server is a testserver that stands for programs of its kind.
	server string
	// backend is a server behind it, at BACKEND.
	backend bool
	// program must be installed; empty is the testserver foreign, which speaks
	// the preset's dialect.
	program string
	spec    string
	files   map[string]string // in DIR
}

const nginxConf = `worker_processes 2;
error_log stderr warn;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	server { listen ADDRESS; location / { return 200 "hello\n"; } location /slow { limit_rate 2k; alias DIR/slow; } }
}
`

const nginxStreamConf = `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 2;
error_log stderr warn;
events {}
stream { server { listen ADDRESS; proxy_pass BACKEND; } }
`

const caddyfile = `{
	admin off
	auto_https off
	persist_config off
}
http://ADDRESS {
	bind fd/3
	respond "hello"
}
`

const haproxyConf = `global
	log stderr local0 err
defaults
	mode http
	timeout client 30s
	timeout server 30s
	timeout connect 5s
frontend web
	bind "fd@${FD1}"
	timeout tarpit 1s
	http-request tarpit deny_status 200 if { path /slow }
	http-request return status 200 content-type text/plain string "hello"
`

const rack = `run lambda { |env|
  sleep 1 if env["PATH_INFO"] == "/slow"
  gen = ENV["GRACEFLEET_GENERATION"]
  [200, {"Content-Type" => "text/plain", "X-Generation" => gen}, ["gen=#{gen}\n"]]
}
`

const psgi = `sub {
    sleep 1 if $_[0]->{PATH_INFO} eq "/slow";
    my $gen = $ENV{GRACEFLEET_GENERATION};
    return [200, ["Content-Type", "text/plain", "X-Generation", $gen], ["gen=$gen\n"]];
};
`

const nodeApp = `const http = require("http");
const gen = process.env.GRACEFLEET_GENERATION;
const server = http.createServer((req, res) => {
	res.setHeader("X-Generation", gen);
	setTimeout(() => res.end("gen=" + gen + "\n"), req.url.startsWith("/slow") ? 1000 : 0);
});
server.listen({ fd: Number(process.env.FD) });
process.on("SIGTERM", () => server.close());
`

const pythonApp = `import asyncio, os, signal, socket

gen = os.environ["GRACEFLEET_GENERATION"]
body = f"gen={gen}\n"
answer = f"HTTP/1.1 200 OK\r\nX-Generation: {gen}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
answering = 0

async def serve(reader, writer):
    global answering
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            answering += 1
            await asyncio.sleep(head.startswith(b"GET /slow"))
            writer.write(answer)
            await writer.drain()
            answering -= 1
            if b"onnection: close" in head:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()

async def main():
    sock = socket.socket(fileno=int(os.environ["FD"]))
    server = await asyncio.start_server(serve, sock=sock)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()
    while answering:
        await asyncio.sleep(0.01)

asyncio.run(main())
`

var knowns = map[string]known{
	"caddy": {
		program: "caddy", version: "version", underLoad: true, files: map[string]string{"Caddyfile": caddyfile},
		spec: "preset: caddy\nargs: [run, --config, DIR/Caddyfile, --adapter, caddyfile]\nenv: {HOME: DIR}\n",
	},
	"nginx": {
		program: "/usr/sbin/nginx", version: "-v", files: map[string]string{"nginx.conf": nginxConf, "slow": strings.Repeat("slow\n", 800)},
		spec: "preset: nginx\nargs: [-e, stderr, -c, DIR/nginx.conf]\n",
	},
	"nginx stream": {
		program: "/usr/sbin/nginx", version: "-v", backend: true, files: map[string]string{"nginx.conf": nginxStreamConf},
		spec: "preset: nginx\nargs: [-e, stderr, -c, DIR/nginx.conf]\n",
	},
	"haproxy -Ws": {
		program: "/usr/sbin/haproxy", version: "-v", files: map[string]string{"haproxy.cfg": haproxyConf},
		spec: "preset: haproxy\ncommand: ['{artifact}', -Ws]\nargs: [-f, DIR/haproxy.cfg]\n",
	},
	"gracefleet": {server: "runtime", spec: "preset: gracefleet\n"},
	"go-systemd": {server: "plain", spec: "preset: go-systemd\n"},
	"haproxy": {
		program: "/usr/sbin/haproxy", version: "-v", files: map[string]string{"haproxy.cfg": haproxyConf},
		spec: "preset: haproxy\nargs: [-f, DIR/haproxy.cfg]\n",
	},
	"gunicorn": {
		program: gunicorn, version: "--version", files: map[string]string{"app.py": wsgi},
		spec: "preset: gunicorn\nargs: [--workers, '2', --pythonpath, DIR, 'app:app']\nenv: {VERSION: v1, PYTHONDONTWRITEBYTECODE: '1'}\n",
	},
	"gunicorn gthread": {
		underLoad: true, program: gunicorn, version: "--version", files: map[string]string{"app.py": wsgi},
		spec: "preset: gunicorn\nargs: [--worker-class, gthread, --threads, '8', --pythonpath, DIR, 'app:app']\nenv: {VERSION: v1, PYTHONDONTWRITEBYTECODE: '1'}\n",
	},
	"uwsgi": {
		program: "/usr/bin/uwsgi-core", version: "--version", files: map[string]string{"app.py": wsgi},
		spec: "preset: uwsgi\nenv: {VERSION: v1}\n" +
			"args: [--plugin, python3, --master, --processes, '2', --http-socket, 'fd://{fd:http}', --chdir, DIR, --wsgi-file, app.py, --callable, app]\n",
	},
	"unicorn": {
		program: "/usr/bin/unicorn", version: "--version", files: map[string]string{"config.ru": rack, "unicorn.rb": "worker_processes 4\n"},
		spec: "preset: unicorn\nargs: [-l, HOSTPORT, -c, DIR/unicorn.rb, DIR/config.ru]\nworking_directory: DIR\n",
	},
	"puma": {
		program: "/usr/bin/puma", version: "--version", files: map[string]string{"config.ru": rack},
		spec: "preset: puma\nargs: [-b, 'tcp://HOSTPORT', DIR/config.ru]\nworking_directory: DIR\n",
	},
	"starman": {
		program: "/usr/bin/starman", version: "--version", slow: true, files: map[string]string{"app.psgi": psgi},
		spec: "preset: starman\nargs: [--workers, '4', --disable-keepalive, DIR/app.psgi]\n",
	},
	"node": {
		program: "/usr/bin/node", version: "--version", files: map[string]string{"app.js": nodeApp},
		spec: "preset: node\nargs: [DIR/app.js]\nhandover: {env: {FD: '{fd:http}'}}\n",
	},
	"python": {
		program: "/usr/bin/python3", version: "--version", files: map[string]string{"app.py": pythonApp},
		spec: "preset: python\nargs: [DIR/app.py]\nhandover: {env: {FD: '{fd:http}'}}\n",
	},
	"gracehttp":      {spec: "preset: gracehttp\n"},
	"beego":          {spec: "preset: beego\n"},
	"endless":        {spec: "preset: endless\n"},
	"overseer":       {spec: "preset: overseer\n"},
	"tableflip":      {spec: "preset: tableflip\n"},
	"server_starter": {spec: "preset: server_starter\n"},
	"einhorn":        {spec: "preset: einhorn\n"},
	"graceful":       {spec: "preset: graceful\n"},
	"goagain":        {spec: "preset: goagain\n"},
}

// startKnown runs one of them as generation 1.
func startKnown(t testing.TB, name string, rest string) *service {
	t.Helper()
	k := knowns[name]
	if k.program != "" {
		path, err := exec.LookPath(k.program)
		harness.Need(t, err == nil, k.program+" is not installed")
		k.program = path
	}
	s := &service{Agent: harness.Start(t), t: t}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	put := strings.NewReplacer("DIR", s.Dir, "ADDRESS", s.address, "HOSTPORT", s.address, "BACKEND", backendOf(t, k))
	for file, content := range k.files {
		if err := os.WriteFile(filepath.Join(s.Dir, file), []byte(put.Replace(content)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	artifact, args := "host:"+k.program, ""
	switch {
	case k.server != "":
		artifact = harness.Program(t, k.server, "v1")
	case k.program == "":
		artifact, args = harness.Program(t, "foreign", "v1"), "args: [-protocol="+name+", -address="+s.address+"]\n"
	}
	s.spec = "name: web\nartifact: " + artifact + "\n" + args + put.Replace(k.spec) + put.Replace(rest) +
		"sockets: [{name: http, listen: \"tcp://ADDRESS\"}]\n"
	s.spec = put.Replace(s.spec)
	s.Apply(t, s.spec)
	s.await(1, pb.Generation_STATE_ACTIVE)
	return s
}

// backendOf is where the server listens that stands behind a proxy.
func backendOf(t testing.TB, k known) string {
	t.Helper()
	if !k.backend {
		return ""
	}
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	(&service{t: t, address: address}).startLegacy(t, harness.Program(t, "plain", "v1"), "-listen", address)
	return address
}

// Programs of all kinds are upgraded and rolled back under load, and lose nothing:
// nobody changed them for it.
func TestPresets(t *testing.T) {
	upgrades, between := 2, int64(50)
	if full {
		upgrades, between = 10, 500
	}
	var rows []programRow
	for _, name := range slices.Sorted(maps.Keys(knowns)) {
		t.Run(name, func(t *testing.T) {
			s := startKnown(t, name, "upgrade: {soak: 0s}\n")
			each := rate() / 2
			if knowns[name].slow {
				each /= 10
			}
			l := s.load(each, each, nil)
			answered(t, l, between)
			for range upgrades {
				s.CtlOK(t, "restart", "web")
				answered(t, l, between)
			}
			s.CtlOK(t, "rollback", "web")
			answered(t, l, between)
			seen := unharmed(t, l)
			s.awaitAlone(awaitLimit)
			t.Logf("%v", seen)
			rows = append(rows, s.row(t, name, upgrades, seen))
		})
	}
	if *table != "" {
		writeTable(t, rows)
	}
}

// wrongSignals look right and are not.
var wrongSignals = map[string]string{
	"nginx": "SIGTERM", "haproxy": "SIGTERM", "gunicorn": "SIGQUIT", "gunicorn gthread": "SIGQUIT", "unicorn": "SIGTERM",
	"nginx stream": "SIGTERM", "haproxy -Ws": "SIGTERM", "gracefleet": "SIGQUIT", "go-systemd": "SIGQUIT",
	"caddy": "SIGQUIT", "puma": "SIGQUIT", "uwsgi": "SIGQUIT", "node": "SIGINT", "python": "SIGINT", "einhorn": "SIGTERM",
	"gracehttp": "SIGQUIT", "beego": "SIGQUIT", "endless": "SIGQUIT", "overseer": "SIGQUIT", "tableflip": "SIGQUIT",
	"server_starter": "SIGQUIT", "graceful": "SIGQUIT", "goagain": "SIGINT",
}

// The signal that looks right and is not: a request under way is cut by it, and
// answered after the preset's own.
func TestWrongSignals(t *testing.T) {
	for name, wrong := range wrongSignals {
		if knowns[name].underLoad {
			continue
		}
		t.Run(name+"/right", func(t *testing.T) {
			if err := askedAcrossAnUpgrade(t, name, "drain: {mode: signal, timeout: 20s}\n"); err != nil {
				t.Errorf("told by its own signal, it cut a request: %v", err)
			}
		})
		t.Run(name+"/"+wrong, func(t *testing.T) {
			if err := askedAcrossAnUpgrade(t, name, "drain: {mode: signal, signal: "+wrong+", timeout: 20s}\n"); err == nil {
				t.Errorf("%s cut nothing: nothing here proves that signals matter", wrong)
			}
		})
	}
}

// lostUnderLoad is what a program loses of a load while it is told to end by a
// signal, three times.
func lostUnderLoad(t *testing.T, name, drain string) int64 {
	t.Helper()
	s := startKnown(t, name, "upgrade: {soak: 0s}\n"+drain)
	l := s.load(rate()/2, rate()/2, nil)
	for i := range 3 {
		answered(t, l, 50)
		s.CtlOK(t, "restart", "web")
		s.await(int32(i+1), pb.Generation_STATE_STOPPED)
	}
	return l.Stop().Lost()
}

// askedAcrossAnUpgrade has a request under way while an upgrade tells its
// generation to end.
func askedAcrossAnUpgrade(t *testing.T, name, drain string) error {
	t.Helper()
	s := startKnown(t, name, "upgrade: {soak: 0s}\n"+drain)
	answer := make(chan error, 1)
	begun := make(chan struct{})
	go func() { answer <- slowly(s.address, begun) }()
	<-begun
	// It was accepted once later ones have answers.
	for range 4 {
		get(t, s.address)
	}
	s.CtlOK(t, "restart", "web")
	return <-answer
}
