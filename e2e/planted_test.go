//go:build linux

package e2e

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// An agent whose directories somebody else decides on does not start, and writes
// nothing there.
func TestPlantedDirectories(t *testing.T) {
	t.Parallel()
	elsewhere, dir := t.TempDir(), t.TempDir()
	theirs, link := filepath.Join(dir, "theirs"), filepath.Join(dir, "link")
	if err := errors.Join(os.Symlink(elsewhere, link), os.Mkdir(theirs, 0o755)); err != nil {
		t.Fatal(err)
	}
	cases := map[string][2]string{
		"the state directory is a link":   {link, filepath.Join(dir, "r")},
		"the runtime directory is a link": {filepath.Join(dir, "s"), link},
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(theirs, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		cases["the state directory is somebody else's"] = [2]string{theirs, filepath.Join(dir, "r")}
		cases["the runtime directory is somebody else's"] = [2]string{filepath.Join(dir, "s"), theirs}
		cases["the runtime directory is in somebody else's"] = [2]string{filepath.Join(dir, "s"), filepath.Join(theirs, "gracefleet")}
	}
	for name, c := range cases {
		ctx, cancel := context.WithTimeout(t.Context(), awaitLimit)
		defer cancel()
		out, err := exec.CommandContext(ctx, harness.Binary(t, "graced"), "--state-dir", c[0], "--runtime-dir", c[1]).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "directory "+dir) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	for _, where := range []string{elsewhere, theirs} {
		for path := range contents(t, where) {
			t.Errorf("%s was written", path)
		}
	}
}

// What lies where the next generation's log belongs is neither written to nor waited
// for: the upgrade fails, and everything else goes on.
func TestPlantedLog(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(path, victim string) error{
		"a link": func(path, victim string) error { return os.Symlink(victim, path) },
		"a fifo": func(path, _ string) error { return syscall.Mkfifo(path, 0o666) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, "runtime", signalDrain)
			victim := filepath.Join(t.TempDir(), "victim")
			if err := errors.Join(os.WriteFile(victim, []byte("untouched"), 0o600), plant(filepath.Join(s.Dir, "s", "logs", "web", "2.log"), victim)); err != nil {
				t.Fatal(err)
			}
			l := s.load(50, 50, nil)
			answered(t, l, 10)
			if r := s.Ctl(t, "upgrade", "web", harness.Program(t, "runtime", "v2")); r.Code != 4 || !strings.Contains(r.Stderr, "2.log") {
				t.Errorf("an upgrade into it: %v", r)
			}
			if got, err := os.ReadFile(victim); err != nil || string(got) != "untouched" {
				t.Errorf("the victim holds %q, %v", got, err)
			}
			for _, args := range [][]string{{"logs", "web"}, {"logs", "web", "--generation", "2"}, {"status", "web"}} {
				if r := s.Ctl(t, args...); r.Code > 1 || strings.Contains(r.Stdout, "untouched") {
					t.Error(r)
				}
			}
			s.CtlOK(t, "upgrade", "web", harness.Program(t, "runtime", "v3"))
			answered(t, l, 10)
			unharmed(t, l)
		})
	}
}

// A program that lies elsewhere could become another after it was looked at.
func TestPlantedArtifact(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	digest := s.push("v2")
	dir := filepath.Join(s.Dir, "s", "artifacts", strings.TrimPrefix(digest, "sha256:"))
	elsewhere := filepath.Join(t.TempDir(), "artifact")
	if err := errors.Join(exec.Command("mv", dir, elsewhere).Run(), os.Symlink(elsewhere, dir)); err != nil {
		t.Fatal(err)
	}
	if r := s.Ctl(t, "upgrade", "web", digest); r.Code != 1 || !strings.Contains(r.Stderr, dir+" is a symbolic link") {
		t.Errorf("an upgrade to it: %v", r)
	}
	s.untouched(pid)
}

// Names become paths. Whatever the call, one that could lead elsewhere is refused, and
// not a file comes of it.
func TestNamesThatArePaths(t *testing.T) {
	t.Parallel()
	a := harness.Start(t)
	conn := a.Client(t)
	services, upgrades, artifacts := pb.NewSupervisorServiceClient(conn), pb.NewUpgradeServiceClient(conn), pb.NewArtifactServiceClient(conn)
	spec := &pb.ServiceSpec{Artifact: "host:/bin/true"}
	calls := map[string]func(ctx context.Context, name string) error{
		"ApplyService": func(ctx context.Context, name string) error {
			_, err := services.ApplyService(ctx, &pb.ApplyServiceRequest{Name: name, Spec: spec})
			return err
		},
		"AdoptService": func(ctx context.Context, name string) error {
			_, err := services.AdoptService(ctx, &pb.AdoptServiceRequest{Name: name, Spec: spec, Program: &pb.AdoptServiceRequest_Pid{Pid: 1}})
			return err
		},
		"GetService": func(ctx context.Context, name string) error {
			_, err := services.GetService(ctx, &pb.GetServiceRequest{Name: name})
			return err
		},
		"StopService": func(ctx context.Context, name string) error {
			_, err := services.StopService(ctx, &pb.StopServiceRequest{Name: name})
			return err
		},
		"StartService": func(ctx context.Context, name string) error {
			_, err := services.StartService(ctx, &pb.StartServiceRequest{Name: name})
			return err
		},
		"ReloadService": func(ctx context.Context, name string) error {
			_, err := services.ReloadService(ctx, &pb.ReloadServiceRequest{Name: name})
			return err
		},
		"DeleteService": func(ctx context.Context, name string) error {
			_, err := services.DeleteService(ctx, &pb.DeleteServiceRequest{Name: name})
			return err
		},
		"ListGenerations": func(ctx context.Context, name string) error {
			_, err := services.ListGenerations(ctx, &pb.ListGenerationsRequest{Service: name})
			return err
		},
		"ReadLogs": func(ctx context.Context, name string) error {
			stream, err := services.ReadLogs(ctx, &pb.ReadLogsRequest{Service: name})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"StartUpgrade": func(ctx context.Context, name string) error {
			_, err := upgrades.StartUpgrade(ctx, &pb.StartUpgradeRequest{Service: name, Artifact: "host:/bin/true"})
			return err
		},
		"GetUpgrade": func(ctx context.Context, name string) error {
			_, err := upgrades.GetUpgrade(ctx, &pb.GetUpgradeRequest{Service: name})
			return err
		},
		"ListUpgrades": func(ctx context.Context, name string) error {
			_, err := upgrades.ListUpgrades(ctx, &pb.ListUpgradesRequest{Service: name})
			return err
		},
		"PromoteUpgrade": func(ctx context.Context, name string) error {
			_, err := upgrades.PromoteUpgrade(ctx, &pb.PromoteUpgradeRequest{Service: name})
			return err
		},
		"AbortUpgrade": func(ctx context.Context, name string) error {
			_, err := upgrades.AbortUpgrade(ctx, &pb.AbortUpgradeRequest{Service: name})
			return err
		},
		"RollbackService": func(ctx context.Context, name string) error {
			_, err := upgrades.RollbackService(ctx, &pb.RollbackServiceRequest{Service: name})
			return err
		},
		"DeleteArtifact": func(ctx context.Context, name string) error {
			_, err := artifacts.DeleteArtifact(ctx, &pb.DeleteArtifactRequest{Digest: name})
			return err
		},
		"GetUploadStatus": func(ctx context.Context, name string) error {
			_, err := artifacts.GetUploadStatus(ctx, &pb.GetUploadStatusRequest{Digest: name})
			return err
		},
		"UploadArtifact": func(ctx context.Context, name string) error {
			stream, err := artifacts.UploadArtifact(ctx)
			if err != nil {
				return err
			}
			header := &pb.UploadHeader{Digest: name, FileName: "web", SizeBytes: 1}
			_ = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Header{Header: header}}) // the answer says why
			_, err = stream.CloseAndRecv()
			return err
		},
		"credentials": func(ctx context.Context, name string) error {
			s := &pb.ServiceSpec{Artifact: "host:/bin/true", Credentials: map[string]string{name: "/etc/hostname"}}
			_, err := services.ApplyService(ctx, &pb.ApplyServiceRequest{Name: "web", Spec: s})
			return err
		},
		"files": func(ctx context.Context, name string) error {
			s := &pb.ServiceSpec{Artifact: "host:/bin/true", Files: map[string]string{name: "sha256:" + strings.Repeat("0", 64)}}
			_, err := services.ApplyService(ctx, &pb.ApplyServiceRequest{Name: "web", Spec: s})
			return err
		},
	}
	before := tree(t, a)
	for call, do := range calls {
		for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc/x", "x/", strings.Repeat("x", 101), "web\n", "we\tb", "\x7f", ".web", "-web", "é"} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := do(ctx, name); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s of %q: %v, want InvalidArgument", call, name, err)
			}
			cancel()
		}
	}
	if after := tree(t, a); !slices.Equal(before, after) {
		t.Errorf("the agent's directories hold %q, they held %q", after, before)
	}
}

// tree are all paths of the agent, but for its record of who asked.
func tree(t *testing.T, a *harness.Agent) []string {
	t.Helper()
	all := contents(t, a.Dir)
	maps.DeleteFunc(all, func(path string, _ []byte) bool { return strings.Contains(path, "/s/audit/") })
	return slices.Sorted(maps.Keys(all))
}
