// Package emulatortest gives tests a Firestore emulator.
package emulatortest

import (
	"context"
	"os"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/amammay/otorun/internal/firestoreemulator"
)

// Start starts an emulator that ends with the test, which is skipped as by Need.
func Start(t testing.TB) *firestoreemulator.Emulator {
	t.Helper()
	Need(t)
	e, err := firestoreemulator.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if err := warmUp(t.Context(), e.Addr); err != nil {
		t.Fatalf("the first calls of the Firestore emulator: %v", err)
	}
	return e
}

// warmUp makes the first calls, which take the emulator many times as long as all
// others: on a busy machine longer than a caller waits.
func warmUp(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	c, err := firestore.NewClient(ctx, "warm-up", option.WithGRPCConn(conn))
	if err != nil {
		return err
	}
	defer c.Close()
	things := c.Collection("things")
	if _, err := things.Doc("one").Set(ctx, map[string]any{"n": 1}); err != nil {
		return err
	}
	_, err = things.OrderBy("n", firestore.Asc).StartAfter(0).Limit(1).Documents(ctx).GetAll()
	return err
}

// Need skips the test where no emulator is installed. In CI, which has to have one,
// the test fails.
func Need(t testing.TB) {
	t.Helper()
	switch err := firestoreemulator.Installed(); {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}
