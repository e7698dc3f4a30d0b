package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/amammay/otorun/cloudrun/internal/instance"
	"github.com/amammay/otorun/cloudrun/internal/platform"
)

// startRevision has the platform run a revision of a service, which changes
// meanwhile, and returns when an instance does.
func (s *Server) startRevision(svc *service, name string, r *revision) error {
	t, err := readTemplate(r.Template)
	if err != nil {
		return err
	}
	account := t.Spec.ServiceAccountName
	if _, ok := s.directory.Account(account); !ok {
		return &notStarted{"ServiceAccountMissing", fmt.Sprintf("Service account %s does not exist: gcloud iam service-accounts create makes one.", account)}
	}
	image, err := s.Images.Resolve(s.ctx, r.Image)
	switch {
	case errors.Is(err, ErrNoImage):
		return &notStarted{"ContainerMissing", fmt.Sprintf("Image '%s' not found.", r.Image)}
	case err != nil:
		return &notStarted{"ContainerImageUnavailable", fmt.Sprintf("Image '%s' can't be used: %v", r.Image, err)}
	}
	s.mu.Lock()
	r.Digest = image.Digest
	s.mu.Unlock()
	if len(command(t.Spec.Containers[0], image)) == 0 {
		return &notStarted{"ContainerMissing", fmt.Sprintf("Image '%s' has neither an entry point nor a command: give the Dockerfile an ENTRYPOINT, or say --command.", r.Image)}
	}
	if _, _, err := s.fromSecrets(t, image); err != nil {
		return &notStarted{"SecretsAccessCheckFailed", err.Error()}
	}
	if err := s.Platform.AddRevision(name, platform.Revision{Name: r.Name, Account: account, Template: s.platformTemplate(t, image)}); err != nil {
		return err
	}
	err = s.Platform.StartRevision(s.ctx, name, r.Name)
	s.mu.Lock()
	deleted := svc.deleted
	s.mu.Unlock()
	if err != nil || deleted {
		s.Platform.RemoveRevision(name, r.Name)
	}
	return err
}

// notStarted says in Cloud Run's words why a revision doesn't run.
type notStarted struct{ reason, message string }

func (e *notStarted) Error() string { return e.message }

// explain says in Cloud Run's words why a revision didn't start, with what the
// container last wrote.
func explain(err error) (reason, message string) {
	if e, ok := errors.AsType[*notStarted](err); ok {
		return e.reason, e.message
	}
	e, ok := errors.AsType[*instance.StartupError](err)
	if !ok {
		return "ContainerError", err.Error()
	}
	message = fmt.Sprintf("The user-provided container failed to start and listen on the port defined provided by the PORT=%d environment variable within the allocated timeout. "+
		"This can happen when the container port is misconfigured or if the timeout is too short: %s.", e.Port, e.Reason)
	if len(e.Log) > 0 {
		message += " Its last lines: " + strings.Join(e.Log, " | ")
	} else {
		message += " It wrote nothing."
	}
	return "HealthCheckContainerError", message
}

// Deployment is a service as the platform deploys one by itself.
type Deployment struct {
	Name, Image, Account string
}

// Deploy has a service run an image, which is as gcloud run services update
// --image does where there is such a service, and returns when an instance does,
// or with the reason why none does. What else was said of the service stays.
func (s *Server) Deploy(ctx context.Context, d Deployment) error {
	name, given := "", object{
		"apiVersion": "serving.knative.dev/v1",
		"kind":       "Service",
		"metadata":   object{"name": d.Name},
		"spec":       object{"template": object{"spec": object{"serviceAccountName": d.Account, "containers": []any{object{}}}}},
	}
	s.mu.Lock()
	if old := s.services[d.Name]; old != nil {
		name, given = d.Name, copied(old.Object).(object)
	}
	s.mu.Unlock()
	template := child(child(given, "spec"), "template")
	c := child(template, "spec")["containers"].([]any)[0].(object)
	// gcloud may have named the same image by its digest since.
	before, err := s.Images.Resolve(ctx, text(c, "image"))
	if after, _ := s.Images.Resolve(ctx, d.Image); err != nil || after == nil || before.Digest != after.Digest {
		c["image"] = d.Image
		delete(child(template, "metadata"), "name")
	}
	svc, settled, err := s.begin(given, name, s.Developer)
	if err != nil {
		return err
	}
	select {
	case <-settled:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ready := svc.condition("Ready"); ready.Status != statusTrue {
		return fmt.Errorf("deploy %s: %s", d.Name, ready.Message)
	}
	return nil
}

// HasService says whether there is a service of a name.
func (s *Server) HasService(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services[name] != nil
}

// Prune forgets the oldest revisions of a service that no request goes to, but for
// the newest few, and returns the images that revisions still have.
func (s *Server) Prune(name string, few int) (images []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if svc := s.services[name]; svc != nil {
		for _, r := range slices.Clone(svc.Revisions[:max(0, len(svc.Revisions)-few)]) {
			_, _ = s.deleteRevision(svc, r) // refused for one that serves
		}
	}
	for _, svc := range s.services {
		for _, r := range svc.Revisions {
			images = append(images, r.Image)
		}
	}
	s.saveLocked()
	return images
}
