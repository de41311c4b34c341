package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

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
	return &upload{f, &pb.UploadHeader{Digest: digest, SizeBytes: n, FileName: filepath.Base(path), Tree: isArchive(path)}}, nil
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

func (u *upload) close() { u.file.Close() }

// held asks how much of the file the agent has.
func (u *upload) held(ctx context.Context, c *client) (*pb.GetUploadStatusResponse, error) {
	return c.artifacts.GetUploadStatus(ctx, &pb.GetUploadStatusRequest{Digest: u.header.Digest})
}

// push stores the file with the agent unless it is there. A broken upload goes
// on where the agent's copy ends. The artifact is nil when it was there.
func (s *session) push(ctx context.Context, c *client, u *upload) (*pb.Artifact, error) {
	held, err := u.held(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", u.file.Name(), err)
	}
	if held.GetComplete() {
		return nil, u.relabel(ctx, c)
	}
	bar := s.newBar(u.header.FileName, u.header.SizeBytes)
	defer bar.close()
	offset := held.GetCommittedBytes()
	for try := 1; ; try++ {
		artifact, err := u.send(ctx, c, offset, bar)
		if err == nil {
			return artifact, nil
		}
		if try < attempts && api.WaitAsTold(ctx, err) {
			continue
		}
		if status.Code(err) != codes.Unavailable || try == attempts || ctx.Err() != nil {
			return nil, u.interrupted(ctx, err)
		}
		// The question is repeated while the agent is away, see api.RetryServiceConfig.
		held, again := u.held(ctx, c)
		if again != nil {
			return nil, u.interrupted(ctx, err)
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
	_, err := u.send(ctx, c, u.header.GetSizeBytes(), nil)
	return err
}

// interrupted says how to go on, when one can.
func (u *upload) interrupted(ctx context.Context, err error) error {
	err = fmt.Errorf("push %s: %w", u.file.Name(), err)
	if ctx.Err() == nil && status.Code(err) != codes.Unavailable {
		return err
	}
	code := ExitError
	if ctx.Err() != nil {
		code = ExitDetached
	}
	return &exitError{code, fmt.Errorf("push %s was interrupted: the same command goes on where it ended: %s", u.file.Name(), words(errors.Unwrap(err)))}
}

// send streams the file from an offset on.
func (u *upload) send(ctx context.Context, c *client, offset int64, bar *bar) (*pb.Artifact, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := u.file.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	stream, err := c.artifacts.UploadArtifact(ctx)
	if err != nil {
		return nil, err
	}
	u.header.Offset = offset
	err = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Header{Header: u.header}})
	buffer := make([]byte, api.MaxChunk)
	for sent := offset; err == nil && sent < u.header.SizeBytes; bar.set(sent) {
		n, failed := io.ReadFull(u.file, buffer[:min(api.MaxChunk, u.header.SizeBytes-sent)])
		if failed != nil {
			return nil, fmt.Errorf("the file changed while it was read: %w", failed)
		}
		err = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Chunk{Chunk: buffer[:n]}})
		sent += int64(n)
	}
	// io.EOF means that the agent ended the stream: its answer says why.
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	answer, err := stream.CloseAndRecv()
	return answer.GetArtifact(), err
}
