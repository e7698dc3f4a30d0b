package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/amammay/otorun/cloudrun/internal/api"
	"github.com/amammay/otorun/cloudrun/internal/image"
)

// openRegistry opens the images that were pushed, which lie in a folder, and has
// the API deploy them besides the programs that were built here.
func (u *up) openRegistry(dir string) (err error) {
	u.registry, err = image.Open(image.Config{
		Dir:   filepath.Join(dir, "images"),
		Local: u.platform.Region + registrySuffix,
		Authorize: func(a image.Access) error {
			return registryError(u.api.MayUseImages(api.ImageAccess{Token: a.Token, Host: a.Host, Path: a.Repository, Write: a.Write, Trusted: a.Local}))
		},
	})
	return err
}

const registrySuffix = "-docker.pkg.dev"

// registryError is an API's refusal as the registry words it.
func registryError(err error) error {
	refusal, ok := errors.AsType[*api.Error](err)
	if !ok {
		return err
	}
	kind := image.ErrDenied
	switch refusal.Code {
	case http.StatusUnauthorized:
		kind = image.ErrUnauthenticated
	case http.StatusNotFound:
		kind = image.ErrNotFound
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// repositoryDeleted forgets the images of a repository.
func (u *up) repositoryDeleted(location, repository string) {
	host, below := location+registrySuffix, u.platform.ProjectID+"/"+repository
	if err := u.registry.Remove(host, below); err != nil {
		u.platform.Log.Error("the repository's images stay: "+err.Error(), "repository", repository)
	}
}

// hosts answers for Google's hosts: the registry's and those of the APIs.
func (u *up) hosts(host string) http.Handler {
	if image.Serves(host) {
		return u.registry
	}
	return u.api.Host(host)
}

// own answers who asks the platform by its address: docker's daemon for images,
// which knows no proxy, and the other commands.
func (u *up) own(control http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
			u.registry.ServeHTTP(w, r)
			return
		}
		control.ServeHTTP(w, r)
	})
}

// pushed is the registry's images as the API deploys them.
type pushed struct{ *image.Store }

func (p pushed) Resolve(ctx context.Context, ref string) (*api.Image, error) {
	i, err := p.Store.Resolve(ctx, ref)
	if errors.Is(err, image.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", api.ErrNoImage, err)
	}
	if err != nil {
		return nil, err
	}
	return &api.Image{
		Digest: i.Digest, Entrypoint: i.Entrypoint, Cmd: i.Cmd, Env: i.Env,
		Dir: i.Dir, UID: i.UID, GID: i.GID, Root: i.Root,
	}, nil
}
