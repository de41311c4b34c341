package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/status"
)

const (
	// callLimit is how long etcd may take for one call.
	callLimit = 5 * time.Second
	pageKeys  = 500
	// maxAnswer bounds one answer: a page of values.
	maxAnswer = 16 << 20
)

// reconnect has a client dial again sooner than a call gives up: who asks an etcd that
// is back gets its answer. gRPC would wait up to two minutes after a long outage.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
	MinConnectTimeout: callLimit,
}

// Client asks one etcd. It is safe for concurrent use.
type Client struct {
	place Place
	etcd  *clientv3.Client
	stop  context.CancelFunc
	ttl   time.Duration // of a driver's lease
}

// Open prepares a client. With a user it asks who that is, so it fails when nobody
// answers; else the first call does.
func Open(ctx context.Context, p Place, a Access) (*Client, error) {
	config, err := a.config(p)
	if err != nil {
		return nil, err
	}
	password, err := a.password()
	if err != nil {
		return nil, err
	}
	// What ends the opening must not end the client.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	unbind := context.AfterFunc(ctx, stop)
	scheme := "http://"
	if p.TLS {
		scheme = "https://"
	}
	endpoints := make([]string, len(p.Endpoints))
	for i, e := range p.Endpoints {
		endpoints[i] = scheme + e
	}
	c, err := clientv3.New(clientv3.Config{
		Context: own, Endpoints: endpoints, TLS: config, Username: a.User, Password: password, DialTimeout: callLimit,
		DialKeepAliveTime: callLimit, DialKeepAliveTimeout: callLimit, MaxCallRecvMsgSize: maxAnswer,
		// A member that is away is tried again for a moment; then it is told why.
		MaxUnaryRetries: 10, BackoffWaitBetween: 100 * time.Millisecond, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(failFast), grpc.WithConnectParams(reconnect)},
	})
	if err == nil && !unbind() {
		err = errors.Join(context.Cause(ctx), c.Close())
	}
	if err != nil {
		stop()
		return nil, failed(p, err)
	}
	return &Client{place: p, etcd: c, stop: stop, ttl: leaseTTL}, nil
}

// failFast has a call to an etcd that cannot be reached end with the reason. The
// library would wait in silence until the call's time is up.
func failFast(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return call(ctx, method, request, answer, conn, append(options, grpc.WaitForReady(false))...)
}

// Close ends every call. What was held is free when its lease has ended.
func (c *Client) Close() error {
	defer c.stop()
	return c.etcd.Close()
}

// failed says what a call to an etcd ended with, and at which.
func failed(p Place, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer within %v: does it run, and has it a leader?", callLimit)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		err = fmt.Errorf("whoever %s or the certificate's common name says may not use keys below %s: etcdctl role grant-permission ROLE --prefix=true readwrite %s", envUser, p.Prefix, p.Prefix)
	case errors.Is(err, rpctypes.ErrUserEmpty):
		err = fmt.Errorf("it asks who you are: set %s and %s, or %s", envUser, envPasswordFile, envCert)
	case errors.Is(err, rpctypes.ErrAuthFailed):
		err = fmt.Errorf("it does not know that user with that password: see %s and %s", envUser, envPasswordFile)
	default:
		if s, ok := status.FromError(err); ok {
			err = errors.New(s.Message())
		}
	}
	return fmt.Errorf("etcd %s: %w", strings.Join(p.Endpoints, ","), err)
}

// get is one key; nil when there is none.
func (c *Client) get(ctx context.Context, key string) (*mvccpb.KeyValue, error) {
	answer, err := c.etcd.Get(ctx, key)
	if err != nil {
		return nil, failed(c.place, err)
	}
	if len(answer.Kvs) == 0 {
		return nil, nil
	}
	return answer.Kvs[0], nil
}

// list is every key below a prefix as it was at one instant, by name. More keys or
// bytes than that are an error.
func (c *Client) list(ctx context.Context, prefix string, maxKeys, maxBytes int) ([]*mvccpb.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var all []*mvccpb.KeyValue
	options := []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(pageKeys)}
	bytes := 0
	for from, more := prefix, true; more; {
		page, err := c.etcd.Get(ctx, from, options...)
		if err != nil {
			return nil, failed(c.place, err)
		}
		for _, kv := range page.Kvs {
			bytes += len(kv.Value)
		}
		all = append(all, page.Kvs...)
		if len(all) > maxKeys || bytes > maxBytes {
			return nil, fmt.Errorf("etcd %s: more than %d keys or %d bytes below %s", strings.Join(c.place.Endpoints, ","), maxKeys, maxBytes, prefix)
		}
		if more = page.More && len(all) > 0; more {
			from = string(all[len(all)-1].Key) + "\x00"
			if len(all) == len(page.Kvs) {
				options = append(options, clientv3.WithRev(page.Header.Revision))
			}
		}
	}
	return all, nil
}
