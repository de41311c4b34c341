package host

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/handover"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

const (
	artifactPlaceholder = "{artifact}"
	defaultPath         = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	programUmask        = 0o022
	// restartBudget is how often a shim restarts a program while no agent looks.
	restartBudget = 5
)

// program makes what the shim needs of a launch. The artifact's bytes are
// verified here, before every start.
func (s *slot) program(l supervisor.Launch) (shim.Program, error) {
	path, err := s.host.artifactPath(l.Spec.Artifact)
	if err != nil {
		return shim.Program{}, err
	}
	argv := argvOf(l.Spec, path)
	if !filepath.IsAbs(argv[0]) {
		return shim.Program{}, fmt.Errorf("command %q must be an absolute path", argv[0])
	}
	names := make([]string, len(l.Spec.Sockets))
	for i, sock := range l.Spec.Sockets {
		names[i] = sock.Name
	}
	announced, err := handover.Announce(l.Spec.Handover.Dialect, names)
	if err != nil {
		return shim.Program{}, err
	}
	id, err := identify(l.Spec.User)
	if err != nil {
		return shim.Program{}, err
	}
	group, err := s.host.generationCgroup(l.Service, l.For)
	if err != nil {
		return shim.Program{}, err
	}
	log, err := s.host.prepareLog(l.Service, l.For, id)
	if err != nil {
		return shim.Program{}, err
	}
	return shim.Program{
		Instance: l.Instance, Generation: l.Generation, Path: argv[0], Argv: argv,
		Env: s.environment(l, id, announced), PIDEnv: announced.PIDEnv, Dir: l.Spec.WorkingDirectory,
		User: id.shimUser(), NoNewPrivs: !id.root(), Umask: programUmask, Cgroup: string(group), Sockets: names, Log: log,
		Restart: shim.Restart{Restart: l.Spec.Restart, Budget: restartBudget},
	}, nil
}

func (h *Host) artifactPath(artifact string) (string, error) {
	if path, ok := strings.CutPrefix(artifact, hostPrefix); ok {
		_, err := h.store.HostArtifact(path)
		return path, err
	}
	return h.store.Verify(artifact)
}

func argvOf(spec service.Spec, path string) []string {
	command := spec.Command
	if len(command) == 0 {
		command = []string{artifactPlaceholder}
	}
	var argv []string
	for _, word := range append(append([]string(nil), command...), spec.Args...) {
		argv = append(argv, strings.ReplaceAll(word, artifactPlaceholder, path))
	}
	return argv
}

// environment is complete: a program inherits nothing of the agent's.
func (s *slot) environment(l supervisor.Launch, id identity, a handover.Announcement) []string {
	env := []string{defaultPath}
	env = append(env, id.env()...)
	for _, name := range sortedKeys(l.Spec.Env) {
		env = append(env, name+"="+l.Spec.Env[name])
	}
	env = append(env, a.Env...)
	return append(env,
		"NOTIFY_SOCKET="+shim.NotifyPath(s.dir),
		"GRACEFLEET_SERVICE="+l.Service,
		"GRACEFLEET_GENERATION="+strconv.Itoa(l.For))
}

// prepareLog creates the generation's log for its user; the shim appends.
func (h *Host) prepareLog(service string, generation int, id identity) (string, error) {
	f, err := h.store.OpenLog(service, generation, id.uid, id.gid)
	if err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return h.store.LogPath(service, generation), nil
}

// probeEnv is what an exec probe's command gets.
func probeEnv(service string, generation int) []string {
	return []string{
		defaultPath,
		"GRACEFLEET_SERVICE=" + service, "GRACEFLEET_GENERATION=" + strconv.Itoa(generation),
	}
}
