package main

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/amammay/otorun/internal/cloudlog"
	"github.com/amammay/otorun/server/internal/bolt"
	"github.com/amammay/otorun/server/internal/eaters"
	"github.com/amammay/otorun/server/internal/firestore"
)

// A store keeps what each person has eaten. Its errors wrap
// [eaters.ErrUnavailable] or a context's error where these are the reason.
type store interface {
	// Put makes tacos the record of the person name. When it returns nil they are
	// kept. The time of the last meal becomes now, unless they are what was kept.
	Put(ctx context.Context, name string, tacos []string) error
	// List returns up to limit eaters behind a rank, or from the first on if that
	// is empty. An error is the last thing it returns.
	List(ctx context.Context, after eaters.Rank, limit int) iter.Seq2[eaters.Eater, error]
}

// openStore opens the store that the environment asks for.
func openStore(getenv func(string) string, log *slog.Logger) (store, error) {
	switch kind := getenv("TACO_STORE"); kind {
	case "", "bbolt":
		path, err := dbPath(getenv)
		if err != nil {
			return nil, err
		}
		s, err := bolt.Open(path)
		if err != nil {
			return nil, fmt.Errorf("%w (TACO_DB says which file)", err)
		}
		log.Info("keeping what is eaten in a file", "file", path)
		if cloudlog.OnCloudRun(getenv) {
			log.Warn("what is eaten is kept by this instance alone and goes with it: set TACO_STORE=firestore to keep it, and for instances to agree", "file", path)
		}
		return s, nil
	case "firestore":
		project := getenv("GOOGLE_CLOUD_PROJECT")
		if project == "" {
			project = firestore.DetectProject
		}
		log.Info("keeping what is eaten in Firestore", "project", getenv("GOOGLE_CLOUD_PROJECT"), "emulator", getenv("FIRESTORE_EMULATOR_HOST"))
		return firestore.New(project), nil
	default:
		return nil, fmt.Errorf("TACO_STORE=%q is no store: set it to bbolt or firestore", kind)
	}
}

// dbPath returns where the embedded store's file is.
func dbPath(getenv func(string) string) (string, error) {
	if path := getenv("TACO_DB"); path != "" {
		return path, nil
	}
	if cloudlog.OnCloudRun(getenv) { // where nothing else can be written to
		return filepath.Join(os.TempDir(), "tacos.db"), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for what is eaten: %w: set TACO_DB to a file", err)
	}
	return filepath.Join(cache, "otorun", "tacos.db"), nil
}
