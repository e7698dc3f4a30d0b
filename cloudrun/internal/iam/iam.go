// Package iam holds who is who and who may do what in the one project of a run:
// service accounts, users, groups and policies. It answers the question that
// Cloud Run asks of every request: may this caller invoke this service, and if
// not, which command mends it?
//
//	d := iam.New("my-proj", "123456789012")
//	sa, err := d.CreateServiceAccount("tacoclient", "")
//	_, err = d.AddBinding(d.Service("us-central1", "tacoserver"), iam.Invoker, sa.Member())
//	d.MayInvoke(sa.Principal, "us-central1", "tacoserver").Allowed // true
//
// A change counts at once; in the cloud it may take minutes. The state lives in
// memory; [Directory.Snapshot] is for who keeps it.
//
// It imports only the standard library.
package iam

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
)

var (
	// ErrExists says that there is an account of that name.
	ErrExists = errors.New("already exists")
	// ErrNotFound says that there is no account of that name.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a policy was changed since it was read.
	ErrConflict = errors.New("the policy was changed since it was read")
	// ErrInvalid says that a name, role or member isn't of the right form.
	ErrInvalid = errors.New("invalid")
)

// A Kind is the kind of a principal.
type Kind string

// The kinds, as they are written before the colon of a member.
const (
	Anonymous      Kind = ""
	User           Kind = "user"
	ServiceAccount Kind = "serviceAccount"
)

// A Principal is who calls. The zero Principal is a caller without a token.
type Principal struct {
	Kind  Kind
	Email string
	// ID is the account's unique number, 21 digits: the sub of its tokens.
	ID string
}

// Member returns the principal as it is written in a policy.
func (p Principal) Member() string {
	if p.Kind == Anonymous {
		return AllUsers
	}
	return string(p.Kind) + ":" + p.Email
}

func (p Principal) String() string {
	if p.Kind == Anonymous {
		return "a caller without a token"
	}
	return p.Member()
}

// An Account is a service account of the project.
type Account struct {
	Principal
	ProjectID   string
	DisplayName string
	Description string
}

// A Directory is the identities and policies of a project. Its methods may be
// called by many goroutines at once.
type Directory struct {
	projectID, projectNumber string

	mu       sync.RWMutex
	byEmail  map[string]Principal
	byID     map[string]Principal
	accounts map[string]Account // service accounts, by email
	groups   map[string][]string
	policies map[string]Policy
	version  uint64 // of the policies
}

// New returns the directory of a project without accounts or policies.
func New(projectID, projectNumber string) *Directory {
	return &Directory{
		projectID:     projectID,
		projectNumber: projectNumber,
		byEmail:       make(map[string]Principal),
		byID:          make(map[string]Principal),
		accounts:      make(map[string]Account),
		groups:        make(map[string][]string),
		policies:      make(map[string]Policy),
	}
}

// ProjectID and ProjectNumber name the project.
func (d *Directory) ProjectID() string     { return d.projectID }
func (d *Directory) ProjectNumber() string { return d.projectNumber }

// DefaultAccount returns the email of the service account that services run as
// when they name none: Compute Engine's.
func (d *Directory) DefaultAccount() string {
	return d.projectNumber + "-compute@developer.gserviceaccount.com"
}

// CreateServiceAccount adds the account ACCOUNT@PROJECT.iam.gserviceaccount.com.
// An account that was deleted and is created again is another: its number is new.
// The error wraps [ErrExists] or [ErrInvalid].
func (d *Directory) CreateServiceAccount(account, displayName string) (Account, error) {
	if !isAccountID(account) {
		return Account{}, fmt.Errorf("service account %q: %w: want 6 to 30 lower-case letters, digits and hyphens, a letter first, no hyphen last", account, ErrInvalid)
	}
	return d.addAccount(account+"@"+d.projectID+".iam.gserviceaccount.com", displayName)
}

// EnsureDefaultAccount adds [Directory.DefaultAccount] if it isn't there.
func (d *Directory) EnsureDefaultAccount() Account {
	a, err := d.addAccount(d.DefaultAccount(), "Default compute service account")
	if err != nil {
		a, _ = d.Account(d.DefaultAccount())
	}
	return a
}

func (d *Directory) addAccount(email, displayName string) (Account, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.accounts[email]; ok {
		return Account{}, fmt.Errorf("service account %s: %w", email, ErrExists)
	}
	a := Account{Principal: d.newPrincipal(ServiceAccount, email), ProjectID: d.projectID, DisplayName: displayName}
	d.accounts[email] = a
	return a, nil
}

// Account returns the service account with that email or unique number.
func (d *Directory) Account(name string) (Account, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if p, ok := d.byID[name]; ok {
		name = p.Email
	}
	a, ok := d.accounts[strings.ToLower(name)]
	return a, ok
}

// Accounts returns the service accounts, by email.
func (d *Directory) Accounts() []Account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.SortedFunc(maps.Values(d.accounts), func(a, b Account) int { return strings.Compare(a.Email, b.Email) })
}

// DeleteServiceAccount removes the account with that email or unique number. Its
// tokens open nothing any more, and neither do its bindings, which stay behind as
// "deleted:". The error wraps [ErrNotFound].
func (d *Directory) DeleteServiceAccount(name string) error {
	a, ok := d.Account(name)
	if !ok {
		return notThere(name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.accounts, a.Email)
	delete(d.byEmail, a.Email)
	delete(d.byID, a.ID)
	gone := "deleted:" + a.Member() + "?uid=" + a.ID
	for resource, p := range d.policies {
		changed := false
		p.Bindings = slices.Clone(p.Bindings)
		for i, b := range p.Bindings {
			if j := slices.Index(b.Members, a.Member()); j >= 0 {
				b.Members = slices.Clone(b.Members)
				b.Members[j] = gone
				p.Bindings[i] = b
				changed = true
			}
		}
		if changed {
			p.Etag = d.nextEtag()
			d.policies[resource] = p
		}
	}
	return nil
}

func notThere(account string) error {
	return fmt.Errorf("service account %.100q: %w", account, ErrNotFound)
}

// EnsureUser returns the user with that email, who is added if need be: there is
// no registry of people here.
func (d *Directory) EnsureUser(email string) (Principal, error) {
	email = strings.ToLower(email)
	if !isEmail(email) || isServiceAccountEmail(email) {
		return Principal{}, fmt.Errorf("user %.100q: %w: want the email of a person", email, ErrInvalid)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.byEmail[email]; ok {
		return p, nil
	}
	return d.newPrincipal(User, email), nil
}

// SetGroup says whose emails are in a group; without members the group is gone.
// Groups in groups count as far as they don't form a ring.
func (d *Directory) SetGroup(email string, members ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	email = strings.ToLower(email)
	if len(members) == 0 {
		delete(d.groups, email)
		return
	}
	lower := make([]string, len(members))
	for i, m := range members {
		lower[i] = strings.ToLower(m)
	}
	d.groups[email] = lower
}

// Principal returns the user or service account with that email or unique number.
func (d *Directory) Principal(name string) (Principal, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if p, ok := d.byID[name]; ok {
		return p, true
	}
	p, ok := d.byEmail[strings.ToLower(name)]
	return p, ok
}

// newPrincipal is called with the lock held.
func (d *Directory) newPrincipal(kind Kind, email string) Principal {
	p := Principal{Kind: kind, Email: email}
	for p.ID == "" || d.byID[p.ID] != (Principal{}) {
		p.ID = uniqueID()
	}
	d.byEmail[email], d.byID[p.ID] = p, p
	return p
}

// uniqueID returns 21 digits, the first of them 1, as Google's account numbers are.
func uniqueID() string {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(20), nil)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(err) // crypto/rand doesn't fail
	}
	return fmt.Sprintf("1%020d", n)
}

// nextEtag is called with the lock held. The form is that of Google's: an opaque
// base64 text. gcloud takes it for bytes and sends it back as it encodes them.
func (d *Directory) nextEtag() string {
	d.version++
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(d.projectID), d.version))
	return base64.StdEncoding.EncodeToString(append([]byte{7, 5}, sum[:6]...))
}

func isAccountID(s string) bool {
	if len(s) < 6 || len(s) > 30 || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func isEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && local != "" && isDomain(domain) && len(s) <= 254 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '"' })
}

func isDomain(s string) bool {
	return strings.Contains(s, ".") && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && s[0] != '.' && s[len(s)-1] != '.'
}

func isServiceAccountEmail(s string) bool { return strings.HasSuffix(s, ".gserviceaccount.com") }
