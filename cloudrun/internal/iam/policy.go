package iam

import (
	"fmt"
	"slices"
	"strings"
)

// Members that stand for many.
const (
	AllUsers              = "allUsers"
	AllAuthenticatedUsers = "allAuthenticatedUsers"
)

// The roles that let a principal invoke a service: those that have the permission
// run.routes.invoke. Sources: https://docs.cloud.google.com/run/docs/reference/iam/roles,
// and for the basic roles https://docs.cloud.google.com/run/docs/securing/managing-access.
const (
	Invoker         = "roles/run.invoker"
	ServicesInvoker = "roles/run.servicesInvoker"
	Admin           = "roles/run.admin"
	Owner           = "roles/owner"
	Editor          = "roles/editor"
)

var invoking = []string{Invoker, ServicesInvoker, Admin, Owner, Editor}

// emptyEtag is the etag of a policy that was never set.
const emptyEtag = "ACAB"

// A Policy says who has which role on a resource. It is Google's IAM policy, with
// the names its JSON has.
type Policy struct {
	Version  int       `json:"version,omitempty"`
	Bindings []Binding `json:"bindings,omitempty"`
	Etag     string    `json:"etag,omitempty"`
}

// A Binding gives a role to members.
type Binding struct {
	Role    string   `json:"role"`
	Members []string `json:"members"`
	// Condition is kept and not evaluated: a binding with one opens nothing here.
	Condition *Condition `json:"condition,omitempty"`
}

// A Condition limits a binding.
type Condition struct {
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Expression  string `json:"expression"`
}

// Project returns the resource name of the project: the roles on it hold for
// everything in it.
func (d *Directory) Project() string { return "projects/" + d.projectID }

// Service returns the resource name of a Cloud Run service.
func (d *Directory) Service(region, name string) string {
	return d.Project() + "/locations/" + region + "/services/" + name
}

// Policy returns the policy of a resource, whatever kind it is of: that of a
// resource no one has set has no bindings. The caller may change it.
func (d *Directory) Policy(resource string) Policy {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.policy(resource).clone()
}

// policy is called with the lock held; what it returns is shared.
func (d *Directory) policy(resource string) Policy {
	if p, ok := d.policies[resource]; ok {
		return p
	}
	return Policy{Version: 1, Etag: emptyEtag}
}

// SetPolicy replaces the policy of a resource and returns it as it stands then:
// a role once, a member once a role, emails in lower case, a new etag. A policy
// without etag replaces whatever there is.
//
// The error wraps [ErrConflict] if the etag isn't that of the present policy, and
// [ErrInvalid] for a role or member that can't be, such as a service account of
// this project that isn't there.
func (d *Directory) SetPolicy(resource string, p Policy) (Policy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.set(resource, p); err != nil {
		return Policy{}, fmt.Errorf("policy of %s: %w", resource, err)
	}
	return d.policy(resource).clone(), nil
}

// AddBinding gives member the role on a resource, as
// `gcloud ... add-iam-policy-binding` does; giving it twice changes nothing. The
// error wraps [ErrInvalid].
func (d *Directory) AddBinding(resource, role, member string) (Policy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.policy(resource).clone()
	p.Bindings = append(p.Bindings, Binding{Role: role, Members: []string{member}})
	if err := d.set(resource, p); err != nil {
		return Policy{}, fmt.Errorf("policy of %s: %w", resource, err)
	}
	return d.policy(resource).clone(), nil
}

// RemoveBinding takes the role on a resource from member. The error wraps
// [ErrNotFound] if member hasn't got it.
func (d *Directory) RemoveBinding(resource, role, member string) (Policy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.policy(resource).clone()
	found := false
	for i := range p.Bindings {
		b := &p.Bindings[i]
		if j := slices.Index(b.Members, normal(member)); b.Role == role && b.Condition == nil && j >= 0 {
			b.Members = slices.Delete(b.Members, j, j+1)
			found = true
		}
	}
	if !found {
		return Policy{}, fmt.Errorf("policy of %s: binding of %s to %.100q: %w", resource, role, member, ErrNotFound)
	}
	if err := d.set(resource, p); err != nil {
		return Policy{}, fmt.Errorf("policy of %s: %w", resource, err)
	}
	return d.policy(resource).clone(), nil
}

// DeletePolicy forgets the policy of a resource that is no more.
func (d *Directory) DeletePolicy(resource string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.policies, resource)
}

// set is called with the lock held.
func (d *Directory) set(resource string, p Policy) error {
	old := d.policy(resource)
	// Either alphabet of base64 is the same bytes: gcloud sends that for URLs.
	if p.Etag != "" && strings.NewReplacer("-", "+", "_", "/").Replace(p.Etag) != old.Etag {
		return fmt.Errorf("etag %.40q isn't the present %q: %w", p.Etag, old.Etag, ErrConflict)
	}
	next := Policy{Version: max(p.Version, 1)}
	for _, b := range p.Bindings {
		if !isRole(b.Role) {
			return fmt.Errorf("role %.100q: %w: want roles/NAME or projects/PROJECT/roles/NAME", b.Role, ErrInvalid)
		}
		into := slices.IndexFunc(next.Bindings, func(o Binding) bool { return o.Role == b.Role && sameCondition(o.Condition, b.Condition) })
		if into < 0 {
			into = len(next.Bindings)
			next.Bindings = append(next.Bindings, Binding{Role: b.Role, Condition: b.Condition})
		}
		for _, m := range b.Members {
			m = normal(m)
			if err := d.check(m); err != nil {
				return err
			}
			if !slices.Contains(next.Bindings[into].Members, m) {
				next.Bindings[into].Members = append(next.Bindings[into].Members, m)
			}
		}
	}
	next.Bindings = slices.DeleteFunc(next.Bindings, func(b Binding) bool { return len(b.Members) == 0 })
	next.Etag = d.nextEtag()
	d.policies[resource] = next
	return nil
}

// check says what is wrong with a member. It is called with the lock held.
func (d *Directory) check(member string) error {
	kind, name, _ := strings.Cut(member, ":")
	ok := false
	switch kind {
	case AllUsers, AllAuthenticatedUsers:
		ok = member == kind
	case "user", "group":
		ok = isEmail(name) && !isServiceAccountEmail(name)
	case "domain":
		ok = isDomain(name)
	case "serviceAccount":
		ok = isEmail(name)
		if _, there := d.accounts[name]; ok && !there && strings.HasSuffix(name, "@"+d.projectID+".iam.gserviceaccount.com") {
			return fmt.Errorf("member %q: %w: service account %s does not exist", member, ErrInvalid, name)
		}
	case "deleted", "principal", "principalSet", "projectOwner", "projectEditor", "projectViewer":
		ok = name != "" // kept, and open nothing here
	}
	if !ok {
		return fmt.Errorf("member %.100q: %w: want allUsers, allAuthenticatedUsers, user:EMAIL, serviceAccount:EMAIL, group:EMAIL or domain:DOMAIN", member, ErrInvalid)
	}
	return nil
}

// normal puts the email of a member in lower case, as Google keeps it.
func normal(member string) string {
	kind, name, ok := strings.Cut(member, ":")
	if !ok || kind == "deleted" || strings.HasPrefix(kind, "principal") {
		return member
	}
	return kind + ":" + strings.ToLower(name)
}

func isRole(role string) bool {
	rest, ok := strings.CutPrefix(role, "roles/")
	if !ok {
		parts := strings.Split(role, "/")
		if len(parts) != 4 || parts[0] != "projects" && parts[0] != "organizations" || parts[1] == "" || parts[2] != "roles" {
			return false
		}
		rest = parts[3]
	}
	return rest != "" && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

func sameCondition(a, b *Condition) bool { return a == b || a != nil && b != nil && *a == *b }

func (p Policy) clone() Policy {
	p.Bindings = slices.Clone(p.Bindings)
	for i := range p.Bindings {
		p.Bindings[i].Members = slices.Clone(p.Bindings[i].Members)
	}
	return p
}
