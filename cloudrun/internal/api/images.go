package api

import (
	"context"
	"errors"
	"io/fs"

	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// Images has images.
type Images interface {
	// Resolve returns what a reference is now: a tag may be another image later.
	// The error wraps [ErrNoImage] if there is none.
	Resolve(ctx context.Context, ref string) (*Image, error)
}

// ErrNoImage says that there is no image of a name.
var ErrNoImage = errors.New("no such image")

// An Image is what a container is made of.
type Image struct {
	// Digest names it for good: sha256:HEX.
	Digest          string
	Entrypoint, Cmd []string
	// Env is key=value.
	Env      []string
	Dir      string
	UID, GID int
	// Root is an unpacked image, if there is one, and Files what is put over it.
	Root  string
	Files []sandbox.File
}

const dirMode = fs.ModeDir

func fileMode(mode int) fs.FileMode { return fs.FileMode(mode) & fs.ModePerm }
