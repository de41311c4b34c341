package socket

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

func slotsAt(t *testing.T, dir string) (public string, one, two *os.File) {
	t.Helper()
	public = filepath.Join(dir, "public")
	a := service.Address{Network: service.Unix, Path: public}
	return public, open(t, a, filepath.Join(dir, "1")), open(t, a, filepath.Join(dir, "2"))
}

func TestPublishSwitchesWithoutAGap(t *testing.T) {
	dir := shortDir(t)
	public, one, two := slotsAt(t, dir)
	if err := Publish(one.Name(), public); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			c, err := net.Dial("unix", public)
			if err != nil {
				done <- err
				return
			}
			c.Close()
		}
	}()
	for i := range 300 {
		f := one
		if i%2 == 0 {
			f = two
		}
		if err := Publish(f.Name(), public); err != nil {
			t.Fatal(err)
		}
		accept(t, one)
		accept(t, two)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error("a connect failed:", err)
	}
	accept(t, one)
	accept(t, two)
	for range 2 { // the second time it is published already
		if err := Publish(two.Name(), public); err != nil {
			t.Fatal(err)
		}
	}
	dial(t, "unix", public)
	if accept(t, two) != 1 || accept(t, one) != 0 {
		t.Error("the public path does not lead to the slot published last")
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 3 {
		t.Errorf("left behind: %v", names)
	}
}

func TestPublishRefuses(t *testing.T) {
	dir := shortDir(t)
	public, one, _ := slotsAt(t, dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]string{
		"no private socket":     {filepath.Join(dir, "none"), public},
		"private is a file":     {file, public},
		"no directory":          {one.Name(), filepath.Join(dir, "none", "s")},
		"file as a directory":   {one.Name(), filepath.Join(file, "s")},
		"public is a file":      {one.Name(), file},
		"public is a directory": {one.Name(), dir},
	} {
		err := Publish(pair[0], pair[1])
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		t.Log(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Error("the file is gone:", err)
	}
}

func TestGuardRestoresThePath(t *testing.T) {
	dir := shortDir(t)
	public, one, two := slotsAt(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	restored, done := make(chan struct{}, 10), make(chan error, 1)
	go func() { done <- GuardPath(ctx, one.Name(), public, func() { restored <- struct{}{} }) }()
	<-restored // it was not there
	for name, harm := range map[string]func() error{
		"unlink":  func() error { return os.Remove(public) },
		"replace": func() error { return Publish(two.Name(), public) },
		"rename":  func() error { return os.Rename(public, public+".away") },
		"bind": func() error {
			if err := os.Remove(public); err != nil {
				return err
			}
			l, err := net.Listen("unix", public)
			if err != nil {
				return nil // the guard was first
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			return l.Close()
		},
	} {
		if err := harm(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		<-restored
		eventually(t, name+": restored", func() bool { return Published(one.Name(), public) })
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := os.Remove(public); err != nil {
		t.Fatal(err)
	}
	if Published(one.Name(), public) {
		t.Error("restored after its end")
	}
}

func TestGuardEndsWithTheDirectory(t *testing.T) {
	dir := shortDir(t)
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	_, one, _ := slotsAt(t, dir)
	public := filepath.Join(sub, "public")
	restored, done := make(chan struct{}, 10), make(chan error, 1)
	ctx := timeout(t, 10*time.Second)
	go func() { done <- GuardPath(ctx, one.Name(), public, func() { restored <- struct{}{} }) }()
	<-restored
	if err := os.Rename(sub, sub+".away"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || ctx.Err() != nil {
		t.Error("the guard went on without its directory:", err)
	} else {
		t.Log(err)
	}
	if err := GuardPath(ctx, one.Name(), public, func() {}); err == nil {
		t.Error("no error for a directory that does not exist")
	}
}
