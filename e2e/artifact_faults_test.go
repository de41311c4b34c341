//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// untouched checks that a refused request left generation 1 as it was.
func (s *service) untouched(pid int32) {
	s.t.Helper()
	g := harness.Active(s.Status(s.t, "web"))
	if g.GetNumber() != 1 || g.GetPid() != pid || g.GetWeight() != 10000 || g.GetRestarts() != 0 {
		s.t.Errorf("generation 1 (pid %d) did not stay as it was: %v", pid, g)
	}
}

// A file that can never run is refused in words before anything is touched.
func TestBadArtifacts(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(50, 50, nil)
	program, err := os.ReadFile(harness.Program(t, "runtime", "v1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty", nil, "empty"},
		{"arm64", foreign(program), "arm64"},
		{"text", []byte("just some words\n"), "#!"},
		{"garbage", bytes.Repeat([]byte{0xee, 0x01, 0x02}, 1000), "not"},
		{"script without its interpreter", []byte("#!/nowhere/at/all\n"), "/nowhere/at/all"},
		{"program without its loader", loaderless(), "/nowhere/ld.so"},
	} {
		path := filepath.Join(t.TempDir(), "candidate")
		if err := os.WriteFile(path, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		r := s.Ctl(t, "upgrade", "web", path)
		if r.Code != 1 || !strings.Contains(r.Stderr, test.want) {
			t.Errorf("%s: exit code %d, want 1 and %q in: %s", test.name, r.Code, test.want, r.Stderr)
		}
		s.untouched(pid)
	}
	if r := s.Ctl(t, "upgrade", "web", t.TempDir()); r.Code != 1 || !strings.Contains(r.Stderr, "directory") {
		t.Errorf("a directory: %v", r)
	}
	answered(t, l, 10)
	unharmed(t, l)
}

// foreign is an executable of another architecture.
func foreign(program []byte) []byte {
	out := bytes.Clone(program)
	const eMachine, aarch64, x8664 = 18, 183, 62
	other := uint16(aarch64)
	if binary.LittleEndian.Uint16(out[eMachine:]) == aarch64 {
		other = x8664
	}
	binary.LittleEndian.PutUint16(out[eMachine:], other)
	return out
}

// loaderless is the least ELF file that names a dynamic loader.
func loaderless() []byte {
	const header, entry = 64, 56
	loader := append([]byte("/nowhere/ld.so"), 0)
	b := make([]byte, header+entry+len(loader))
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], 2) // ET_EXEC
	machine := uint16(62)
	if host, err := os.ReadFile("/proc/self/exe"); err == nil {
		machine = le.Uint16(host[18:])
	}
	le.PutUint16(b[18:], machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], header) // program headers
	le.PutUint16(b[52:], header)
	le.PutUint16(b[54:], entry)
	le.PutUint16(b[56:], 1)
	p := b[header:]
	le.PutUint32(p, 3) // PT_INTERP
	le.PutUint32(p[4:], 4)
	le.PutUint64(p[8:], header+entry)
	le.PutUint64(p[32:], uint64(len(loader)))
	le.PutUint64(p[40:], uint64(len(loader)))
	copy(b[header+entry:], loader)
	return b
}

// Set-uid bits of a pushed file mean nothing.
func TestPushedModeIsIgnored(t *testing.T) {
	t.Parallel()
	a := harness.Start(t)
	path := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	a.CtlOK(t, "push", path)
	stored, err := filepath.Glob(filepath.Join(a.Dir, "s", "artifacts", "*", "tool"))
	if err != nil || len(stored) != 1 {
		t.Fatalf("stored as %v, %v", stored, err)
	}
	info, err := os.Stat(stored[0])
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o555 {
		t.Errorf("stored with mode %v, want %v", info.Mode(), fs.FileMode(0o555))
	}
}

// send uploads what it is told under a digest.
func send(ctx context.Context, t *testing.T, a *harness.Agent, h *pb.UploadHeader, content []byte) error {
	t.Helper()
	stream, err := pb.NewArtifactServiceClient(a.Client(t)).UploadArtifact(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Header{Header: h}})
	for len(content) > 0 {
		n := min(len(content), api.MaxChunk)
		_ = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Chunk{Chunk: content[:n]}})
		content = content[n:]
	}
	_, err = stream.CloseAndRecv() // says why a Send failed
	return err
}

func TestUploadsThatGoWrong(t *testing.T) {
	t.Parallel()
	a := harness.Start(t)
	content := append([]byte("#!/bin/sh\n"), bytes.Repeat([]byte("# padding\n"), 200_000)...)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	header := func() *pb.UploadHeader {
		return &pb.UploadHeader{Digest: digest, SizeBytes: int64(len(content)), FileName: "tool"}
	}
	artifacts := pb.NewArtifactServiceClient(a.Client(t))

	// Cut off in the middle: what came stays, and the rest is enough.
	half := len(content) / 2
	if err := send(t.Context(), t, a, header(), content[:half]); err == nil {
		t.Error("half an upload is taken for a whole one")
	}
	st, err := artifacts.GetUploadStatus(t.Context(), &pb.GetUploadStatusRequest{Digest: digest})
	if err != nil || st.GetComplete() || st.GetCommittedBytes() != int64(half) {
		t.Fatalf("after half an upload: %v, %v", st, err)
	}
	// Going on elsewhere than where it ended is refused, and says where that is.
	wrong := header()
	wrong.Offset = 1
	if err := send(t.Context(), t, a, wrong, content[1:]); api.FromStatus(err).Metadata[api.MetadataCommittedBytes] != fmt.Sprint(half) {
		t.Errorf("a wrong offset: %v", err)
	}
	rest := header()
	rest.Offset = int64(half)
	if err := send(t.Context(), t, a, rest, content[half:]); err != nil {
		t.Errorf("the rest of an upload: %v", err)
	}

	lie := header()
	lie.Digest = "sha256:" + strings.Repeat("a", 64)
	if err := send(t.Context(), t, a, lie, content); api.ReasonOf(err) != pb.Reason_REASON_DIGEST_MISMATCH {
		t.Errorf("other bytes than the digest says: %v", err)
	}
	large := &pb.UploadHeader{Digest: lie.GetDigest(), SizeBytes: 1 << 40, FileName: "tool"}
	if err := send(t.Context(), t, a, large, nil); status.Code(err) == codes.OK || api.ReasonOf(err) != pb.Reason_REASON_TOO_LARGE {
		t.Errorf("a terabyte: %v", err)
	}
}
