package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// uploadLimit is what agents take at most, in bytes. An agent may take less.
const uploadLimit = 1 << 30

// attempts bounds the tries of an upload that makes no progress.
const attempts = 5

// upload is a local file on its way to an agent.
type upload struct {
	file   *os.File
	header *pb.UploadHeader

	mu      sync.Mutex
	parcels map[string]*parcel // what it was encoded to, by the base
	copied  sync.Once          // for the next release
	proved  []byte             // see proof
}

// openUpload opens and hashes a file after finding out what would be refused
// anyway.
func openUpload(path string) (*upload, error) {
	// Opening a named pipe would wait for its writer: look first.
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	switch {
	case info.IsDir():
		return nil, fmt.Errorf("artifact %s is a directory: name the executable in it", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("artifact %s is not a regular file (%s)", path, info.Mode().Type())
	case info.Size() == 0:
		return nil, fmt.Errorf("artifact %s is empty", path)
	case info.Size() > uploadLimit:
		return nil, fmt.Errorf("artifact %s has %s: agents take at most %s", path, size(info.Size()), size(uploadLimit))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	digest, n, err := hash(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("artifact %s: %w", path, err)
	}
	header := &pb.UploadHeader{Digest: digest, SizeBytes: n, FileName: filepath.Base(path), Tree: isArchive(path)}
	return &upload{file: f, header: header, parcels: map[string]*parcel{}}, nil
}

// isArchive says whether a file is, by its name, a program that is a tree.
func isArchive(path string) bool {
	for _, ending := range []string{".tar", ".tar.gz", ".tgz"} {
		if strings.HasSuffix(path, ending) {
			return true
		}
	}
	return false
}

func (u *upload) close() {
	u.file.Close()
	for _, p := range u.parcels {
		p.file.Close()
	}
}

// held asks how much of the file the agent has.
func (u *upload) held(ctx context.Context, c *client) (*pb.GetUploadStatusResponse, error) {
	return c.artifacts.GetUploadStatus(ctx, &pb.GetUploadStatusRequest{Digest: u.header.Digest})
}

// push stores the file with the agent unless it is there. A broken upload goes
// on where the agent's copy ends. The artifact is nil when it was there.
func (s *session) push(ctx context.Context, c *client, u *upload) (*pb.Artifact, error) {
	artifact, err := s.deliver(ctx, c, u)
	if err == nil {
		s.keep(c, u)
	}
	return artifact, err
}

func (s *session) deliver(ctx context.Context, c *client, u *upload) (*pb.Artifact, error) {
	held, err := u.held(ctx, c)
	if err != nil {
		return nil, u.failed(err)
	}
	if held.GetComplete() {
		return nil, u.relabel(ctx, c)
	}
	done, err := s.stock.turn(ctx)
	if err != nil {
		return nil, u.interrupted(ctx, err)
	}
	defer done()
	bar := s.newBar(c, u.header.FileName, u.header.SizeBytes)
	defer bar.close()
	p, err := s.pack(ctx, c, u, held.GetEncodings(), bar)
	if err != nil {
		return nil, u.failed(err)
	}
	offset := held.GetCommittedBytes()
	for try := 1; ; try++ {
		artifact, err := u.send(ctx, c, p, offset, bar)
		if err == nil {
			bar.how, bar.arrived = p.how(), true
			return artifact, nil
		}
		var slow *slowError
		switch {
		case errors.As(err, &slow):
			p, try = s.shrink(ctx, c, u, slow.compare, bar), 0
		case p.encoded() && notDecoded(err):
			p, try = u.whole(), 0
		case try < attempts && api.WaitAsTold(ctx, err):
			continue
		case status.Code(err) != codes.Unavailable || try == attempts || ctx.Err() != nil:
			return nil, u.interrupted(ctx, err)
		}
		// The question is repeated while the agent is away, see api.RetryServiceConfig.
		held, again := u.held(ctx, c)
		if again != nil {
			return nil, u.interrupted(ctx, again)
		}
		if held.GetComplete() {
			return nil, nil
		}
		if held.GetCommittedBytes() > offset {
			try = 0
		}
		offset = held.GetCommittedBytes()
	}
}

// relabel gives a stored artifact the version and labels of this push.
func (u *upload) relabel(ctx context.Context, c *client) error {
	if u.header.GetVersion() == "" && len(u.header.GetLabels()) == 0 {
		return nil
	}
	_, err := u.send(ctx, c, u.whole(), u.header.GetSizeBytes(), nil)
	return err
}

// interrupted says how to go on, when one can.
func (u *upload) interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil && status.Code(err) != codes.Unavailable {
		return u.failed(err)
	}
	return interrupted(ctx, "push "+u.file.Name(), err)
}

// interrupted is what broke off, and how to go on.
func interrupted(ctx context.Context, what string, err error) error {
	code := ExitError
	if ctx.Err() != nil {
		code = ExitDetached
	}
	return &exitError{code, &brokenOff{what + " was interrupted: the same command goes on where it ended: " + words(err), err}}
}

// failed says what could not be pushed.
func (u *upload) failed(err error) error {
	return &brokenOff{fmt.Sprintf("push %s: %s", u.file.Name(), words(err)), err}
}

// brokenOff is an upload that failed, in other words than its cause's, which are gRPC's.
// The cause tells whether the connection failed.
type brokenOff struct {
	text  string
	cause error
}

func (b *brokenOff) Error() string { return b.text }
func (b *brokenOff) Unwrap() error { return b.cause }

// send streams what the agent does not hold.
func (u *upload) send(ctx context.Context, c *client, p *parcel, committed int64, bar *bar) (*pb.Artifact, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.artifacts.UploadArtifact(ctx)
	if err != nil {
		return nil, err
	}
	header, rest := p.from(u.header, committed)
	err = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Header{Header: header}})
	buffer := make([]byte, api.MaxChunk)
	t := trial{begin: time.Now(), size: u.header.SizeBytes, total: rest.Size()}
	for err == nil && t.sent < t.total {
		n, failed := io.ReadFull(rest, buffer[:min(api.MaxChunk, t.total-t.sent)])
		if failed != nil {
			return nil, fmt.Errorf("the file changed while it was read: %w", failed)
		}
		err = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Chunk{Chunk: buffer[:n]}})
		t.sent += int64(n)
		bar.sent(int64(n), committed+(t.size-committed)*t.sent/t.total)
		if p.onTrial && err == nil && t.sent < t.total && t.pays(compressing, time.Now()) {
			_, _ = stream.CloseAndRecv() // that it is not all
			return nil, &slowError{compare: t.pays(comparing, time.Now())}
		}
	}
	// io.EOF means that the agent ended the stream: its answer says why.
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	answer, err := stream.CloseAndRecv()
	return answer.GetArtifact(), err
}
