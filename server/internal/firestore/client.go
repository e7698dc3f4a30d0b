package firestore

import (
	"context"
	"math"
	"os"
	"sync"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// open returns the client, which is made by the first call that can: what is amiss
// may be mended meanwhile.
func (s *Store) open(ctx context.Context) (*firestore.Client, error) {
	type opened struct {
		client *firestore.Client
		err    error
	}
	// To ask for credentials and project may take long, where there is no metadata
	// server to answer.
	done := make(chan opened, 1)
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		var err error
		if s.client == nil {
			// The client goes on with its context for as long as it lives.
			s.client, err = newClient(context.Background(), s.project)
		}
		done <- opened{s.client, err}
	}()
	select {
	case o := <-done:
		return o.client, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newClient(ctx context.Context, project string) (*firestore.Client, error) {
	dial := []grpc.DialOption{
		// By default a connection that was lost is tried again after up to two
		// minutes, and calls fail until then.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: callTimeout,
		}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			err := invoke(ctx, method, request, reply, cc, options...)
			noteFailure(ctx, err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := stream(ctx, desc, cc, method, options...)
			noteFailure(ctx, err)
			return notedStream{s}, err
		}),
	}
	emulator := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if emulator == "" {
		options := make([]option.ClientOption, len(dial))
		for i, o := range dial {
			options[i] = option.WithGRPCDialOption(o)
		}
		return firestore.NewClient(ctx, project, options...)
	}
	// The client's own connection to the emulator takes no options.
	conn, err := grpc.NewClient("passthrough:///"+emulator, append(dial,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(emulatorOwner{}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)...)
	if err != nil {
		return nil, err
	}
	return firestore.NewClient(ctx, project, option.WithGRPCConn(conn))
}

// emulatorOwner is who may do anything in the emulator.
type emulatorOwner struct{}

func (emulatorOwner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (emulatorOwner) RequireTransportSecurity() bool { return false }

// lastFailure is how the last attempt of a call failed. The client repeats an
// attempt until the call's time is up, and then says only that it is.
type lastFailure struct {
	mu  sync.Mutex
	err error
}

type lastFailureKey struct{}

func (l *lastFailure) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// noteFailure notes err as an attempt of the call that ctx is of. That time is up,
// and that the answer is complete, are no failures of their own.
func noteFailure(ctx context.Context, err error) {
	l, ok := ctx.Value(lastFailureKey{}).(*lastFailure)
	switch code := status.Code(err); {
	case !ok || code == codes.OK || code == codes.DeadlineExceeded || code == codes.Unknown:
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// notedStream notes how reading from a stream fails.
type notedStream struct{ grpc.ClientStream }

func (s notedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	noteFailure(s.Context(), err)
	return err
}
