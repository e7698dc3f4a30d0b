package iam

import (
	"fmt"
	"slices"
	"strings"
)

// A Decision says whether a principal may invoke a service, and why.
type Decision struct {
	Allowed bool
	// Why is one line: the binding that lets the caller in, or what is missing.
	Why string
	// Fix is the command that mends a refusal, empty if Allowed.
	Fix string
}

// MayInvoke decides as Cloud Run's invoker check does: the caller needs a role
// with the permission run.routes.invoke on the service or on the project. The
// front door, the command "why" and the logs all ask it.
func (d *Directory) MayInvoke(p Principal, region, service string) Decision {
	d.mu.RLock()
	defer d.mu.RUnlock()
	resource := d.Service(region, service)
	// Each request is decided twice, for everybody and for its caller, and fmt
	// would take longer than the rest.
	if role, member, on, ok := d.grant(p, resource); ok {
		return Decision{Allowed: true, Why: p.String() + " has " + role + " on " + on + ", as " + member}
	}
	if p.Kind == Anonymous {
		return Decision{
			Why: "service " + service + " is private and the request carries no identity token",
			Fix: `curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" URL`,
		}
	}
	why := fmt.Sprintf("%s lacks %s on service %s", p, Invoker, service)
	if who := d.invokers(resource); len(who) > 0 {
		why += ", whose invokers are " + strings.Join(who, ", ")
	} else {
		why += ", which has no invokers"
	}
	if d.conditional(p, resource) {
		why += "; a binding of it has a condition, which isn't evaluated here"
	}
	return Decision{
		Why: why,
		Fix: fmt.Sprintf("gcloud run services add-iam-policy-binding %s --project=%s --region=%s --member=%s --role=%s", service, d.projectID, region, p.Member(), Invoker),
	}
}

// HasRole says whether p has one of the roles on one of the resources, by a
// binding without a condition.
func (d *Directory) HasRole(p Principal, roles []string, resources ...string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, _, _, ok := d.binding(p, roles, resources...)
	return ok
}

// grant finds the binding that lets p invoke what resource names.
func (d *Directory) grant(p Principal, resource string) (role, member, on string, ok bool) {
	return d.binding(p, invoking, resource, d.Project())
}

// binding finds one that gives p one of the roles on one of the resources.
func (d *Directory) binding(p Principal, roles []string, resources ...string) (role, member, on string, ok bool) {
	for _, on := range resources {
		for _, b := range d.policies[on].Bindings {
			if b.Condition != nil || !slices.Contains(roles, b.Role) {
				continue
			}
			for _, m := range b.Members {
				if d.covers(m, p) {
					return b.Role, m, on, true
				}
			}
		}
	}
	return "", "", "", false
}

func (d *Directory) conditional(p Principal, resource string) bool {
	for _, on := range []string{resource, d.Project()} {
		for _, b := range d.policies[on].Bindings {
			if b.Condition != nil && slices.Contains(invoking, b.Role) && slices.ContainsFunc(b.Members, func(m string) bool { return d.covers(m, p) }) {
				return true
			}
		}
	}
	return false
}

// maxInvokers keeps a refusal to one readable line.
const maxInvokers = 5

func (d *Directory) invokers(resource string) []string {
	var who []string
	for _, on := range []string{resource, d.Project()} {
		for _, b := range d.policies[on].Bindings {
			if b.Condition == nil && slices.Contains(invoking, b.Role) {
				who = append(who, b.Members...)
			}
		}
	}
	slices.Sort(who)
	who = slices.Compact(who)
	if len(who) > maxInvokers {
		who = append(who[:maxInvokers:maxInvokers], fmt.Sprintf("and %d more", len(who)-maxInvokers))
	}
	return who
}

// covers reports whether a member of a policy stands for p.
func (d *Directory) covers(member string, p Principal) bool {
	if member == AllUsers {
		return true
	}
	if p.Kind == Anonymous {
		return false
	}
	if member == AllAuthenticatedUsers {
		return true
	}
	kind, name, _ := strings.Cut(member, ":")
	switch kind {
	case string(p.Kind):
		return name == p.Email
	case "domain": // the people of a domain, not its service accounts
		_, domain, _ := strings.Cut(p.Email, "@")
		return p.Kind == User && name == domain
	case "group":
		return d.inGroup(name, p.Email, nil)
	}
	return false
}

func (d *Directory) inGroup(group, email string, seen []string) bool {
	if slices.Contains(seen, group) {
		return false
	}
	for _, m := range d.groups[group] {
		if m == email || d.inGroup(m, email, append(seen, group)) {
			return true
		}
	}
	return false
}
