package host

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/internal/handover"
)

const (
	artifactPlaceholder = "{artifact}"
	defaultPath         = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	programUmask        = 0o022
	// restartBudget is how often a shim restarts a program while no agent looks.
	restartBudget = 5
)

// program makes what the shim needs of a launch; place does the rest. The artifact's
// bytes are verified here, before every start.
func (s *slot) program(l supervisor.Launch) (shim.Program, error) {
	path, err := s.host.artifactPath(l.Spec.Artifact)
	if err != nil {
		return shim.Program{}, err
	}
	id, err := identify(l.Spec.User)
	if err != nil {
		return shim.Program{}, err
	}
	scratch, err := s.host.generationDir(l.Service, l.For, id)
	if err != nil {
		return shim.Program{}, err
	}
	dialect, ok := handover.FindDialect(l.Spec.Handover.Dialect)
	if !ok {
		return shim.Program{}, fmt.Errorf("handover dialect %q is not known", l.Spec.Handover.Dialect)
	}
	values := handover.Values{
		Artifact: path, Service: l.Service, Generation: l.For, GenerationDir: scratch,
		Sockets: l.Spec.Announced(), Files: s.host.filePaths(l), Credentials: s.host.credentialPaths(l),
	}
	announced := dialect.Announce(values.Sockets, l.For)
	argv := argvOf(l.Spec, announced.Args, values)
	argv, dir := inTree(argv, l.Spec.WorkingDirectory, path)
	if !filepath.IsAbs(argv[0]) {
		return shim.Program{}, fmt.Errorf("command %q is relative, and the artifact is no tree in which it could be", argv[0])
	}
	hs, err := handshake(announced.Names)
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
	env, err := s.environment(l, id, announced, values)
	if err != nil {
		return shim.Program{}, err
	}
	spec, err := json.Marshal(l.Spec)
	if err != nil {
		return shim.Program{}, fmt.Errorf("encode the specification: %w", err)
	}
	names := make([]string, len(l.Spec.Sockets))
	for i, sock := range l.Spec.Sockets {
		names[i] = sock.Name
	}
	return shim.Program{
		Instance: l.Instance, Generation: l.Generation, Path: argv[0], Argv: argv,
		Env: env, PIDEnv: announced.PIDEnv, ParentPIDEnv: announced.ParentPIDEnv,
		Ack: announced.AckEnv != "", Handshake: hs, Blocking: dialect.Blocking, Dir: dir,
		User: id.shimUser(), NoNewPrivs: !id.root(), Umask: programUmask, Cgroup: string(group), Sockets: names, Log: log,
		Restart: shim.Restart{Restart: l.Spec.Restart, Budget: restartBudget}, Spec: spec,
	}, nil
}

func (h *Host) artifactPath(artifact string) (string, error) {
	if path, ok := strings.CutPrefix(artifact, hostPrefix); ok {
		_, err := h.store.HostArtifact(path)
		return path, err
	}
	a, err := h.store.GetArtifact(artifact)
	if err == nil && a.Tree {
		return h.store.Tree(artifact)
	}
	return h.store.Verify(artifact)
}

// inTree makes a command that is relative to the artifact's tree absolute, and has
// the program work there unless another directory is declared.
func inTree(argv []string, dir, artifact string) ([]string, string) {
	info, err := os.Stat(artifact)
	if err != nil || !info.IsDir() {
		return argv, dir
	}
	if filepath.IsLocal(argv[0]) {
		argv[0] = filepath.Join(artifact, argv[0])
	}
	if dir == "" {
		dir = artifact
	}
	return argv, dir
}

// argvOf puts a dialect's own arguments right after the command: they are flags.
func argvOf(spec service.Spec, flags []string, v handover.Values) []string {
	command := spec.Command
	if len(command) == 0 {
		command = []string{artifactPlaceholder}
	}
	var argv []string
	for _, words := range [][]string{command, flags, spec.Args} {
		for _, word := range words {
			argv = append(argv, v.Expand(word))
		}
	}
	return argv
}

// environment is complete: a program inherits nothing of the agent's. Where a name
// occurs twice, what comes later here wins.
func (s *slot) environment(l supervisor.Launch, id identity, a handover.Announcement, v handover.Values) ([]string, error) {
	env := append([]string{defaultPath}, id.env()...)
	if l.Spec.EnvFile != "" {
		read, _, err := readEnvFile(l.Spec.EnvFile, id)
		if err != nil {
			return s.formerEnvironment(l, err)
		}
		for _, name := range sortedKeys(read) {
			env = append(env, name+"="+read[name])
		}
	}
	for _, declared := range []map[string]string{l.Spec.Env, l.Spec.Handover.Env} {
		for _, name := range sortedKeys(declared) {
			env = append(env, name+"="+v.Expand(declared[name]))
		}
	}
	for _, kv := range a.Env {
		env = append(env, v.Expand(kv))
	}
	if a.AckEnv != "" {
		env = append(env, a.AckEnv+"="+shim.AckPath(s.dir))
	}
	if len(l.Spec.Credentials) > 0 {
		env = append(env, handover.CredentialsEnv+"="+s.host.credentialsPath(l))
	}
	return lastOfEach(append(env,
		"NOTIFY_SOCKET="+shim.NotifyPath(s.dir),
		"GRACEFLEET_SERVICE="+l.Service,
		generationEnv(l.For))), nil
}

func generationEnv(generation int) string { return "GRACEFLEET_GENERATION=" + strconv.Itoa(generation) }

// formerEnvironment is that of an earlier instance of the same program, if this agent
// knows it, where the present one could not be read.
func (s *slot) formerEnvironment(l supervisor.Launch, unread error) ([]string, error) {
	if s.keeper == nil { // of an adopted program's slot, which is just being opened
		return nil, unread
	}
	s.keeper.mu.Lock()
	p := s.keeper.program
	s.keeper.mu.Unlock()
	if p == nil || p.Generation != l.Generation || !slices.Contains(p.Env, generationEnv(l.For)) {
		return nil, unread
	}
	s.log.Warn("a program is started with the environment that it had", "generation", l.For, "error", unread)
	return p.Env, nil
}

// lastOfEach keeps one assignment of each name: getenv(3) would find the first.
func lastOfEach(env []string) []string {
	last := map[string]int{}
	for i, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		last[name] = i
	}
	var out []string
	for i, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); last[name] == i {
			out = append(out, kv)
		}
	}
	return out
}

// tableflipReady is what a program of tableflip writes once it is ready.
const tableflipReady = 42

// handshake is tableflip's, which names its sockets in a gob.
func handshake(names [][]string) (*shim.Handshake, error) {
	if names == nil {
		return nil, nil
	}
	var content bytes.Buffer
	if err := gob.NewEncoder(&content).Encode(names); err != nil {
		return nil, fmt.Errorf("encode the names of the sockets: %w", err)
	}
	return &shim.Handshake{Ready: tableflipReady, Content: content.Bytes()}, nil
}

// generationDir makes a generation's scratch directory, which belongs to its user.
func (h *Host) generationDir(service string, generation int, id identity) (string, error) {
	dir := h.generationPath(service, generation)
	err := os.MkdirAll(filepath.Dir(dir), 0o711)
	for _, above := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		err = errors.Join(err, os.Chmod(above, 0o711)) // the program's user passes through
	}
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("create the generation's directory: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(dir, id.uid, id.gid); err != nil {
			return "", fmt.Errorf("hand over the generation's directory: %w", err)
		}
	}
	return dir, nil
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
		"GRACEFLEET_SERVICE=" + service, generationEnv(generation),
	}
}
