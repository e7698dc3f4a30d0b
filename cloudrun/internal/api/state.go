package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/platform"
)

// stateFile has, in the state folder, all but the images.
const stateFile = "state.json"

// state is what is kept for a later run.
type state struct {
	Project, Number, Region string
	Directory               iam.Snapshot
	Services                map[string]*service
	Keys                    map[string]*accountKey
	Secrets                 map[string]*secret
	Repositories            map[string]object
	APIs                    map[string]bool
}

// save writes the state, if it is to be kept.
func (s *Server) save() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saveLocked()
}

func (s *Server) saveLocked() {
	if s.StateDir == "" {
		return
	}
	if err := s.write(); err != nil {
		s.Log.Error("the state isn't kept", "error", err)
	}
}

func (s *Server) write() error {
	text, err := json.MarshalIndent(state{
		Project: s.project, Number: s.Platform.ProjectNumber, Region: s.Platform.Region,
		Directory: s.directory.Snapshot(), Services: s.services, Keys: s.keys,
		Secrets: s.secrets, Repositories: s.repositories, APIs: s.apis,
	}, "", " ")
	if err != nil {
		return err
	}
	if bytes.Equal(text, s.written) {
		return nil
	}
	if err := replaceFile(filepath.Join(s.StateDir, stateFile), text); err != nil {
		return err
	}
	s.written = text
	return nil
}

// restore reads the state and has the platform serve what it did.
func (s *Server) restore() error {
	if s.StateDir == "" {
		return nil
	}
	file := filepath.Join(s.StateDir, stateFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept state
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&kept); err != nil {
		return fmt.Errorf("state in %s: %w", file, err)
	}
	p := s.Platform
	if kept.Project != s.project || kept.Number != p.ProjectNumber || kept.Region != p.Region {
		return fmt.Errorf("state in %s: it is of project %s (%s) in %s, and this is %s (%s) in %s: choose another folder with -state, or start with -project %s -region %s",
			file, kept.Project, kept.Number, kept.Region, s.project, p.ProjectNumber, p.Region, kept.Project, kept.Region)
	}
	s.directory.Restore(kept.Directory)
	if _, err := s.directory.EnsureUser(s.Developer); err != nil {
		return err
	}
	for name, svc := range kept.Services {
		s.services[name] = svc
		s.restoreService(svc)
	}
	for id, v := range kept.Keys {
		s.keys[id] = v
	}
	for id, v := range kept.Secrets {
		s.secrets[id] = v
	}
	for name, v := range kept.Repositories {
		s.repositories[name] = v
	}
	for name, v := range kept.APIs {
		s.apis[name] = v
	}
	return nil
}

// restoreService has a service serve again, from zero instances. A change that was
// under way when the platform ended has failed.
func (s *Server) restoreService(svc *service) {
	done := make(chan struct{})
	close(done)
	svc.settled = done
	svc.operated = text(child(child(svc.Object, "metadata"), "annotations"), "run.googleapis.com/operation-id")
	s.operations[svc.operated] = svc
	for _, r := range svc.Revisions {
		if !r.ready() {
			if r.Conditions[0].Status == statusUnknown {
				r.setConditions(condition{Type: "Ready", Status: statusFalse, Reason: "Interrupted", Message: "The platform ended before it had started."})
			}
			continue
		}
		if err := s.restoreRevision(svc, r); err != nil {
			s.Log.Error("revision not restored: "+err.Error(), "service", svc.Name, "revision", r.Name)
			r.setConditions(condition{Type: "Ready", Status: statusFalse, Reason: "ContainerMissing", Message: err.Error()})
			if svc.LatestReady == r.Name {
				svc.LatestReady = ""
			}
		}
	}
	set, err := settingsOf(child(svc.Object, "metadata"))
	if err != nil {
		s.Log.Error("service not restored: "+err.Error(), "service", svc.Name)
		return
	}
	s.settled(svc, nil, nil, set)
	svc.Observed = svc.Generation
}

func (s *Server) restoreRevision(svc *service, r *revision) error {
	t, err := readTemplate(r.Template)
	if err != nil {
		return err
	}
	image, err := s.Images.Resolve(s.ctx, imageRepository(r.Image)+"@"+r.Digest)
	if err != nil {
		return fmt.Errorf("image %s: %w", r.Image, err)
	}
	return s.Platform.AddRevision(svc.Name, platform.Revision{Name: r.Name, Account: t.Spec.ServiceAccountName, Template: s.platformTemplate(t, image)})
}
