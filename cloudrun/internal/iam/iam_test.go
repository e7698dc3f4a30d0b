package iam_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/iam"
)

const region = "us-central1"

func newDirectory(t *testing.T) (*iam.Directory, iam.Account) {
	t.Helper()
	d := iam.New("my-proj", "123456789012")
	sa, err := d.CreateServiceAccount("tacoclient", "calls tacoserver")
	if err != nil {
		t.Fatal(err)
	}
	return d, sa
}

func user(t *testing.T, d *iam.Directory, email string) iam.Principal {
	t.Helper()
	p, err := d.EnsureUser(email)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestServiceAccounts(t *testing.T) {
	d, sa := newDirectory(t)
	if sa.Email != "tacoclient@my-proj.iam.gserviceaccount.com" || len(sa.ID) != 21 || strings.Trim(sa.ID, "0123456789") != "" {
		t.Errorf("account %+v", sa)
	}
	for _, name := range []string{sa.Email, sa.ID, strings.ToUpper(sa.Email)} {
		if got, ok := d.Account(name); !ok || got != sa {
			t.Errorf("Account(%q) = %+v, %t", name, got, ok)
		}
		if got, ok := d.Principal(name); !ok || got != sa.Principal {
			t.Errorf("Principal(%q) = %+v, %t", name, got, ok)
		}
	}
	if _, err := d.CreateServiceAccount("tacoclient", ""); !errors.Is(err, iam.ErrExists) {
		t.Errorf("a second one: %v", err)
	}
	for _, bad := range []string{"", "short", "Tacoclient", "1tacoclient", "tacoclient-", strings.Repeat("a", 31)} {
		if _, err := d.CreateServiceAccount(bad, ""); !errors.Is(err, iam.ErrInvalid) {
			t.Errorf("CreateServiceAccount(%q): %v", bad, err)
		}
	}
	def := d.EnsureDefaultAccount()
	if again := d.EnsureDefaultAccount(); again != def || def.Email != "123456789012-compute@developer.gserviceaccount.com" {
		t.Errorf("default account %+v, then %+v", def, again)
	}
	if got := d.Accounts(); len(got) != 2 || got[0] != def || got[1] != sa {
		t.Errorf("Accounts() = %+v", got)
	}
}

func TestUsers(t *testing.T) {
	d, sa := newDirectory(t)
	dev := user(t, d, "Dev@Example.com")
	if dev.Member() != "user:dev@example.com" || user(t, d, "dev@example.com") != dev {
		t.Errorf("user %+v", dev)
	}
	for _, bad := range []string{"", "dev", "@example.com", "dev@", "dev@x", "a b@example.com", "a\n@example.com", sa.Email} {
		if p, err := d.EnsureUser(bad); !errors.Is(err, iam.ErrInvalid) {
			t.Errorf("EnsureUser(%q) = %v, %v", bad, p, err)
		}
	}
}

func TestMayInvoke(t *testing.T) {
	const svc = "tacoserver"
	type bind struct{ on, role, member string }
	d, sa := newDirectory(t)
	service, project := d.Service(region, svc), d.Project()
	dev := user(t, d, "dev@example.com")
	d.SetGroup("eaters@example.com", "inner@example.com")
	d.SetGroup("inner@example.com", "eaters@example.com", "DEV@example.com")
	for _, tt := range []struct {
		name  string
		bind  bind
		who   iam.Principal
		allow bool
	}{
		{name: "no binding", who: dev},
		{name: "no token", who: iam.Principal{}},
		{name: "all users", bind: bind{service, iam.Invoker, iam.AllUsers}, who: iam.Principal{}, allow: true},
		{name: "all users, with a token", bind: bind{service, iam.Invoker, iam.AllUsers}, who: dev, allow: true},
		{name: "all authenticated users, no token", bind: bind{service, iam.Invoker, iam.AllAuthenticatedUsers}},
		{name: "all authenticated users", bind: bind{service, iam.Invoker, iam.AllAuthenticatedUsers}, who: dev, allow: true},
		{name: "user", bind: bind{service, iam.Invoker, "user:Dev@example.com"}, who: dev, allow: true},
		{name: "another user", bind: bind{service, iam.Invoker, "user:other@example.com"}, who: dev},
		{name: "service account", bind: bind{service, iam.Invoker, sa.Member()}, who: sa.Principal, allow: true},
		{name: "service account written as user", bind: bind{service, iam.Invoker, sa.Member()}, who: iam.Principal{Kind: iam.User, Email: sa.Email, ID: "1"}},
		{name: "another service", bind: bind{d.Service(region, "other"), iam.Invoker, sa.Member()}, who: sa.Principal},
		{name: "another region", bind: bind{d.Service("us-east1", svc), iam.Invoker, sa.Member()}, who: sa.Principal},
		{name: "on the project", bind: bind{project, iam.Invoker, sa.Member()}, who: sa.Principal, allow: true},
		{name: "services invoker", bind: bind{service, iam.ServicesInvoker, sa.Member()}, who: sa.Principal, allow: true},
		{name: "run admin", bind: bind{service, iam.Admin, sa.Member()}, who: sa.Principal, allow: true},
		{name: "owner", bind: bind{project, iam.Owner, "user:dev@example.com"}, who: dev, allow: true},
		{name: "editor", bind: bind{project, iam.Editor, "user:dev@example.com"}, who: dev, allow: true},
		{name: "viewer", bind: bind{project, "roles/viewer", "user:dev@example.com"}, who: dev},
		{name: "run developer", bind: bind{service, "roles/run.developer", "user:dev@example.com"}, who: dev},
		{name: "run viewer", bind: bind{service, "roles/run.viewer", "user:dev@example.com"}, who: dev},
		{name: "group, through a group, in a ring", bind: bind{service, iam.Invoker, "group:eaters@example.com"}, who: dev, allow: true},
		{name: "group of others", bind: bind{service, iam.Invoker, "group:eaters@example.com"}, who: sa.Principal},
		{name: "domain", bind: bind{service, iam.Invoker, "domain:example.com"}, who: dev, allow: true},
		{name: "domain of a service account", bind: bind{service, iam.Invoker, "domain:my-proj.iam.gserviceaccount.com"}, who: sa.Principal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.bind.on != "" {
				if _, err := d.AddBinding(tt.bind.on, tt.bind.role, tt.bind.member); err != nil {
					t.Fatal(err)
				}
				defer d.DeletePolicy(tt.bind.on)
			}
			got := d.MayInvoke(tt.who, region, svc)
			if got.Allowed != tt.allow || got.Why == "" || (got.Fix == "") != tt.allow {
				t.Errorf("MayInvoke(%v) = %+v, want %t", tt.who, got, tt.allow)
			}
		})
	}
}

func TestRefusalSaysWhatMendsIt(t *testing.T) {
	d, sa := newDirectory(t)
	if _, err := d.AddBinding(d.Service(region, "tacoserver"), iam.Invoker, "user:dev@example.com"); err != nil {
		t.Fatal(err)
	}
	got := d.MayInvoke(sa.Principal, region, "tacoserver")
	want := iam.Decision{
		Why: "serviceAccount:" + sa.Email + " lacks roles/run.invoker on service tacoserver, whose invokers are user:dev@example.com",
		Fix: "gcloud run services add-iam-policy-binding tacoserver --project=my-proj --region=us-central1 --member=serviceAccount:" + sa.Email + " --role=roles/run.invoker",
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := d.MayInvoke(iam.Principal{}, region, "tacoserver"); !strings.Contains(got.Fix, "print-identity-token") {
		t.Errorf("without a token: %+v", got)
	}
	for i := range 9 {
		if _, err := d.AddBinding(d.Service(region, "tacoserver"), iam.Invoker, fmt.Sprintf("user:u%d@example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.MayInvoke(sa.Principal, region, "tacoserver"); !strings.Contains(got.Why, "and 5 more") {
		t.Errorf("with many invokers: %+v", got)
	}
}

func TestConditionOpensNothing(t *testing.T) {
	d, sa := newDirectory(t)
	svc := d.Service(region, "tacoserver")
	_, err := d.SetPolicy(svc, iam.Policy{Version: 3, Bindings: []iam.Binding{{Role: iam.Invoker, Members: []string{sa.Member()}, Condition: &iam.Condition{Expression: "true"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.MayInvoke(sa.Principal, region, "tacoserver"); got.Allowed || !strings.Contains(got.Why, "condition") {
		t.Errorf("%+v", got)
	}
	if p := d.Policy(svc); p.Version != 3 || p.Bindings[0].Condition == nil {
		t.Errorf("policy %+v lost the condition", p)
	}
}

func TestSetPolicy(t *testing.T) {
	d, sa := newDirectory(t)
	svc := d.Service(region, "tacoserver")
	empty := d.Policy(svc)
	if empty.Etag != "ACAB" || len(empty.Bindings) != 0 {
		t.Errorf("policy no one has set: %+v", empty)
	}
	empty.Bindings = []iam.Binding{
		{Role: iam.Invoker, Members: []string{"user:Dev@Example.com", "user:dev@example.com"}},
		{Role: iam.Invoker, Members: []string{sa.Member()}},
		{Role: "roles/viewer"},
	}
	set, err := d.SetPolicy(svc, empty)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Bindings) != 1 || strings.Join(set.Bindings[0].Members, " ") != "user:dev@example.com "+sa.Member() {
		t.Errorf("policy %+v", set)
	}
	set.Bindings[0].Members[0] = "user:mallory@example.com" // the caller's copy
	if got := d.Policy(svc); got.Bindings[0].Members[0] != "user:dev@example.com" || got.Etag != set.Etag || got.Etag == empty.Etag {
		t.Errorf("policy %+v", got)
	}
	if _, err := d.SetPolicy(svc, empty); !errors.Is(err, iam.ErrConflict) {
		t.Errorf("with an old etag: %v", err)
	}
	if _, err := d.SetPolicy(svc, iam.Policy{}); err != nil {
		t.Errorf("without an etag: %v", err)
	}
	for _, b := range []iam.Binding{
		{Role: "run.invoker", Members: []string{"allUsers"}},
		{Role: "roles/", Members: []string{"allUsers"}},
		{Role: "projects/p/x/y", Members: []string{"allUsers"}},
		{Role: iam.Invoker, Members: []string{"dev@example.com"}},
		{Role: iam.Invoker, Members: []string{"allUsers:x"}},
		{Role: iam.Invoker, Members: []string{"user:" + sa.Email}},
		{Role: iam.Invoker, Members: []string{"serviceAccount:nobody@my-proj.iam.gserviceaccount.com"}},
		{Role: iam.Invoker, Members: []string{"domain:x"}},
	} {
		if _, err := d.SetPolicy(svc, iam.Policy{Bindings: []iam.Binding{b}}); !errors.Is(err, iam.ErrInvalid) {
			t.Errorf("SetPolicy(%+v): %v", b, err)
		}
	}
	// An account of another project can't be looked up.
	if _, err := d.AddBinding(svc, "projects/p/roles/eater", "serviceAccount:a@other.iam.gserviceaccount.com"); err != nil {
		t.Error(err)
	}
}

func TestRemoveBinding(t *testing.T) {
	d, sa := newDirectory(t)
	svc := d.Service(region, "tacoserver")
	for range 2 {
		if p, err := d.AddBinding(svc, iam.Invoker, sa.Member()); err != nil || len(p.Bindings[0].Members) != 1 {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	if p, err := d.RemoveBinding(svc, iam.Invoker, sa.Member()); err != nil || len(p.Bindings) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := d.RemoveBinding(svc, iam.Invoker, sa.Member()); !errors.Is(err, iam.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if got := d.MayInvoke(sa.Principal, region, "tacoserver"); got.Allowed {
		t.Errorf("%+v", got)
	}
}

// TestDeletedAccount: its bindings don't come back with an account of its name.
func TestDeletedAccount(t *testing.T) {
	d, sa := newDirectory(t)
	svc := d.Service(region, "tacoserver")
	if _, err := d.AddBinding(svc, iam.Invoker, sa.Member()); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteServiceAccount(sa.Email); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteServiceAccount(sa.Email); !errors.Is(err, iam.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if _, ok := d.Principal(sa.ID); ok {
		t.Error("its number is still known")
	}
	if p := d.Policy(svc); p.Bindings[0].Members[0] != "deleted:"+sa.Member()+"?uid="+sa.ID {
		t.Errorf("policy %+v", p)
	}
	again, err := d.CreateServiceAccount("tacoclient", "")
	if err != nil || again.ID == sa.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	if got := d.MayInvoke(again.Principal, region, "tacoserver"); got.Allowed {
		t.Errorf("%+v", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	d, sa := newDirectory(t)
	svc := d.Service(region, "tacoserver")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			member := fmt.Sprintf("user:u%d@example.com", i)
			for range 50 {
				d.AddBinding(svc, iam.Invoker, member)
				d.MayInvoke(sa.Principal, region, "tacoserver")
				d.Policy(svc)
			}
		})
	}
	wg.Wait()
	if p := d.Policy(svc); len(p.Bindings) != 1 || len(p.Bindings[0].Members) != 8 {
		t.Errorf("policy %+v", p)
	}
}

// TestEtagIsBytes holds that an etag survives gcloud, which decodes and encodes it.
func TestEtagIsBytes(t *testing.T) {
	d := iam.New("my-proj", "123456789012")
	for range 100 {
		set, err := d.AddBinding(d.Service("us-central1", "taco"), iam.Invoker, "allUsers")
		if err != nil {
			t.Fatal(err)
		}
		b, err := base64.StdEncoding.Strict().DecodeString(set.Etag)
		if err != nil {
			t.Fatalf("etag %q: %v", set.Etag, err)
		}
		if _, err := d.SetPolicy(d.Service("us-central1", "taco"), iam.Policy{Etag: base64.URLEncoding.EncodeToString(b)}); err != nil {
			t.Error(err)
		}
	}
}
