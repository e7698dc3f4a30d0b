package iam

import (
	"maps"
	"slices"
	"strings"
)

// A Snapshot is all that a Directory has, to be kept for a later run.
type Snapshot struct {
	Users    []Principal
	Accounts []Account
	Groups   map[string][]string
	Policies map[string]Policy
	Version  uint64
}

// Snapshot returns what the directory has.
func (d *Directory) Snapshot() Snapshot {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := Snapshot{Groups: maps.Clone(d.groups), Policies: make(map[string]Policy), Version: d.version}
	for _, p := range d.byEmail {
		if p.Kind == User {
			s.Users = append(s.Users, p)
		}
	}
	for _, a := range d.accounts {
		s.Accounts = append(s.Accounts, a)
	}
	slices.SortFunc(s.Users, func(a, b Principal) int { return strings.Compare(a.Email, b.Email) })
	slices.SortFunc(s.Accounts, func(a, b Account) int { return strings.Compare(a.Email, b.Email) })
	for name, p := range d.policies {
		s.Policies[name] = p.clone()
	}
	return s
}

// Restore replaces what the directory has.
func (d *Directory) Restore(s Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.byEmail)
	clear(d.byID)
	clear(d.accounts)
	add := func(p Principal) { d.byEmail[p.Email], d.byID[p.ID] = p, p }
	for _, p := range s.Users {
		add(p)
	}
	for _, a := range s.Accounts {
		add(a.Principal)
		d.accounts[a.Email] = a
	}
	d.groups, d.policies, d.version = maps.Clone(s.Groups), make(map[string]Policy), s.Version
	if d.groups == nil {
		d.groups = make(map[string][]string)
	}
	for name, p := range s.Policies {
		d.policies[name] = p.clone()
	}
}

// SetTexts changes what a service account is called and what is said of it; nil
// leaves one as it is. The error wraps [ErrNotFound].
func (d *Directory) SetTexts(name string, display, description *string) (Account, error) {
	a, ok := d.Account(name)
	if !ok {
		return Account{}, notThere(name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if display != nil {
		a.DisplayName = *display
	}
	if description != nil {
		a.Description = *description
	}
	d.accounts[a.Email] = a
	return a, nil
}
