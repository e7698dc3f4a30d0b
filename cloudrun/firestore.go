package main

import (
	"context"
	"fmt"

	"github.com/amammay/otorun/internal/firestoreemulator"
)

// startFirestore starts the emulator of the installed SDK, opens the instances a
// door to it, and has the pair keep what it keeps there. It ends with the platform.
func (u *up) startFirestore(ctx context.Context) error {
	e, err := firestoreemulator.Start(ctx)
	if err != nil {
		return err
	}
	ending := make(chan struct{})
	u.atClose(func() {
		close(ending)
		e.Close()
	})
	go func() {
		select {
		case <-ending:
		case <-e.Done():
			fmt.Fprintln(u.stdout, "cloudrun: the Firestore emulator has ended, and what was in it is gone: start cloudrun anew")
		}
	}()
	u.doors = append(u.doors, e.Addr)
	u.firestore = e.Addr
	u.env = append(u.env, "TACO_STORE=firestore")
	fmt.Fprintf(u.stdout, "cloudrun: Firestore is an emulator, FIRESTORE_EMULATOR_HOST=%s\n", e.Addr)
	return nil
}
