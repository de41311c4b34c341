package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// eventQueue is how many events a slow agent may owe before it is disconnected.
const eventQueue = 256

// Client is an agent's connection to one shim. It is safe for concurrent use.
type Client struct {
	dir    string
	conn   *conn
	hello  Hello
	events chan Event
	done   chan struct{} // the reader has ended

	mu      sync.Mutex
	err     error // why the connection ended
	lastID  uint64
	waiting map[uint64]chan answer
}

type answer struct {
	message
	files []*os.File
}

// Dial connects to the shim of a directory. ErrGone means that there is none.
func Dial(ctx context.Context, dir string) (*Client, error) {
	cn, err := connect(ControlPath(dir))
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("connect to the shim in %s: %w", dir, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the shim in %s: %w", dir, err)
	}
	return greet(ctx, dir, cn)
}

// greet waits for the shim's hello and starts the reader.
func greet(ctx context.Context, dir string, cn *conn) (*Client, error) {
	c := &Client{
		dir: dir, conn: cn,
		events:  make(chan Event, eventQueue),
		done:    make(chan struct{}),
		waiting: map[uint64]chan answer{},
	}
	stop := context.AfterFunc(ctx, cn.close)
	m, _, err := cn.receive()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && m.Error != nil {
		err = m.Error
	}
	if err == nil {
		err = json.Unmarshal(m.Body, &c.hello)
	}
	if err != nil {
		cn.close()
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			err = fmt.Errorf("%w: it ended before it answered", ErrGone)
		}
		return nil, fmt.Errorf("greet the shim in %s: %w", dir, errors.Join(context.Cause(ctx), err))
	}
	go c.read()
	return c, nil
}

// Hello is what the shim said of itself on connect, its State then included.
func (c *Client) Hello() Hello { return c.hello }

// Events delivers what happens from Hello's State on. It is closed when the
// connection ends, also because the caller did not keep up: then Dial again and
// take the State, which lacks nothing.
func (c *Client) Events() <-chan Event { return c.events }

// Close ends the connection; shim and program live on.
func (c *Client) Close() {
	c.conn.close()
	<-c.done
}

// Err says why the connection ended; nil while it stands.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// read is the one goroutine of a Client; it ends with the connection.
func (c *Client) read() {
	defer close(c.done)
	err := c.deliver()
	c.conn.close()
	c.mu.Lock()
	c.err = fmt.Errorf("%w: %w", ErrClosed, err)
	for id, ch := range c.waiting {
		close(ch)
		delete(c.waiting, id)
	}
	c.mu.Unlock()
	close(c.events)
}

func (c *Client) deliver() error {
	for {
		m, files, err := c.conn.receive()
		if err != nil {
			return err
		}
		if m.Event == nil {
			c.answer(answer{m, files})
			continue
		}
		closeAll(files)
		select {
		case c.events <- *m.Event:
		default:
			return errors.New("events were not read")
		}
	}
}

func (c *Client) answer(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.waiting[a.ID]
	delete(c.waiting, a.ID)
	if ch == nil { // the caller gave up
		closeAll(a.files)
		return
	}
	ch <- a // has room for the one answer
}

// call sends a request and waits for its answer, or for ctx: the shim may then
// still do it, which is why every request can be repeated.
func (c *Client) call(ctx context.Context, op string, body any, files []*os.File, into any) ([]*os.File, error) {
	got, err := c.exchange(ctx, op, body, files)
	if err != nil {
		return nil, fmt.Errorf("shim in %s: %s: %w", c.dir, op, err)
	}
	if into == nil {
		closeAll(got.files)
		return nil, nil
	}
	if err := json.Unmarshal(got.Body, into); err != nil {
		closeAll(got.files)
		return nil, fmt.Errorf("shim in %s: answer to %s: %w", c.dir, op, err)
	}
	return got.files, nil
}

func (c *Client) exchange(ctx context.Context, op string, body any, files []*os.File) (answer, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	id, ch, err := c.expect()
	if err != nil {
		return answer{}, err
	}
	defer c.forget(id, ch)
	if err := c.conn.send(ctx, message{ID: id, Op: op, Body: raw}, files); err != nil {
		return answer{}, err
	}
	select {
	case a, ok := <-ch:
		if !ok {
			return answer{}, c.Err()
		}
		if a.Error != nil {
			closeAll(a.files)
			return answer{}, a.Error
		}
		return a, nil
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

func (c *Client) expect() (uint64, chan answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.lastID++
	ch := make(chan answer, 1)
	c.waiting[c.lastID] = ch
	return c.lastID, ch, nil
}

// forget drops a caller that is done or gave up, with the descriptors of an
// answer it did not take.
func (c *Client) forget(id uint64, ch chan answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
	select {
	case a := <-ch:
		closeAll(a.files)
	default:
	}
}
