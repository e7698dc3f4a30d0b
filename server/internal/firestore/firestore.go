// Package firestore keeps eaters in Firestore, where all instances of a service
// find them.
//
//	store := firestore.New(project)
//	err := store.Put(ctx, "Sammy Sosa", []string{"Chicken", "Chorizo"})
//
// There is a document for each in the collection eaters. To write it takes one
// call and no transaction: it is replaced as a whole, and the time of the last
// meal is the document's update time, which Firestore leaves alone if a write
// changes nothing (https://cloud.google.com/firestore/docs/reference/rest/v1/WriteResult).
// The list is in the order of one field, the [eaters.Rank], so
// that no index has to be made.
//
// FIRESTORE_EMULATOR_HOST is honoured, as by all of Google's clients.
package firestore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"sync"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/amammay/otorun/server/internal/eaters"
)

// DetectProject stands for the project that the credentials or the metadata server
// name.
const DetectProject = firestore.DetectProjectID

// callTimeout is how long a call may take, with its retries. It is shorter than
// tacoclient waits, so that its caller is told what is wrong.
const callTimeout = 5 * time.Second

// Store is the eaters of a project.
type Store struct {
	project string
	timeout time.Duration

	mu     sync.Mutex
	client *firestore.Client
}

// New returns the eaters of a project. Nothing is connected before the first call.
func New(project string) *Store { return &Store{project: project, timeout: callTimeout} }

// document is what is kept of a person.
type document struct {
	Name  string   `firestore:"name"`
	Tacos []string `firestore:"tacos"`
	Count int      `firestore:"count"`
	Rank  string   `firestore:"rank"`
}

const collection = "eaters"

// id returns the ID of the document of the person name. Not every name is one: it
// must not be "." or "__x__", nor have a slash.
func id(name string) string { return "eater " + url.PathEscape(name) }

// Put makes tacos the record of the person name.
func (s *Store) Put(ctx context.Context, name string, tacos []string) error {
	return s.call(ctx, fmt.Sprintf("keep what %q has eaten", name), func(ctx context.Context, c *firestore.Client) error {
		_, err := c.Collection(collection).Doc(id(name)).Set(ctx, document{
			Name: name, Tacos: tacos, Count: len(tacos), Rank: string(eaters.RankOf(len(tacos), name)),
		})
		return err
	})
}

// List returns up to limit eaters behind a rank, or from the first on if that is
// empty.
func (s *Store) List(ctx context.Context, after eaters.Rank, limit int) iter.Seq2[eaters.Eater, error] {
	return func(yield func(eaters.Eater, error) bool) {
		err := s.call(ctx, "list who has eaten", func(ctx context.Context, c *firestore.Client) error {
			found := c.Collection(collection).OrderBy("rank", firestore.Asc).StartAfter(string(after)).Limit(limit).Documents(ctx)
			defer found.Stop()
			for {
				snapshot, err := found.Next()
				if errors.Is(err, iterator.Done) {
					return nil
				}
				if err != nil {
					return err
				}
				var d document
				if err := snapshot.DataTo(&d); err != nil {
					return fmt.Errorf("document %s: %w", snapshot.Ref.ID, err)
				}
				if !yield(eaters.Eater{Name: d.Name, Tacos: d.Tacos, LastMeal: snapshot.UpdateTime}, nil) {
					return nil
				}
			}
		})
		if err != nil {
			yield(eaters.Eater{}, err)
		}
	}
}

// Close ends the connections.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil
	}
	return s.client.Close()
}

// call does f, what for short, within the timeout.
func (s *Store) call(ctx context.Context, what string, f func(context.Context, *firestore.Client) error) error {
	var last lastFailure
	within, cancel := context.WithTimeout(context.WithValue(ctx, lastFailureKey{}, &last), s.timeout)
	defer cancel()
	c, err := s.open(within)
	if err == nil {
		err = f(within, c)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s, in Firestore: %w", what, kind(err, last.get()))
}

// kind makes err, the outcome of a call, one that tells callers what to do about
// it. The last failure of an attempt is what the client retried until time was up.
func kind(err, last error) error {
	code := status.Code(err)
	timeUp := code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)
	if timeUp && status.Code(last) != codes.OK {
		code, err = status.Code(last), fmt.Errorf("%w until time was up: %w", last, err)
	}
	switch code {
	case codes.Unavailable, codes.Aborted, codes.ResourceExhausted:
		return fmt.Errorf("%w: %w", eaters.ErrUnavailable, err)
	case codes.Canceled:
		return fmt.Errorf("%w: %w", context.Canceled, err)
	case codes.PermissionDenied:
		return fmt.Errorf("%w: the service account needs roles/datastore.user in the project", err)
	}
	if timeUp {
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}
