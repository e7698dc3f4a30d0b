// Package identity keeps identity tokens: one per audience, for as long as the
// token's own exp allows, fetched by one call at a time.
//
//	cache := &identity.Cache{Fetch: metadataClient.IdentityToken}
//	token, err := cache.Token(ctx, "https://tacoserver-123456789012.us-central1.run.app")
//
// A token is a secret: nothing here logs one or puts one into an error.
package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// hardStop is how long before exp a token is no longer sent: the call it goes
	// with has to arrive, and clocks differ.
	hardStop = 30 * time.Second
	// minLead is the least time before exp at which a refresh starts. The metadata
	// server may hand out one token until some minutes before it expires.
	minLead = 5 * time.Minute
	// fetchLimit bounds a fetch, with all its tries.
	fetchLimit = 10 * time.Second
	// refreshPause is the least time between two refreshes in the background, the
	// first of which failed or brought the same token.
	refreshPause = 15 * time.Second
	// freshFor is how long after its fetch a token is not fetched anew because a
	// front end refused it: another would be refused as well.
	freshFor = time.Minute
)

// A Token is an identity token and what it says of itself.
type Token struct {
	Raw      string
	Bearer   []string // the value of an Authorization header
	Issuer   string
	Audience string
	Email    string
	Issued   time.Time
	Expires  time.Time

	fetched time.Time
}

// Parse reads a token's claims. It does not check its signature: that is for
// whoever the token is sent to.
func Parse(raw string) (*Token, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || strings.ContainsAny(raw, " \t\r\n") {
		return nil, errors.New("not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil, errors.New("not a JWT: the claims aren't base64")
	}
	var claims struct {
		Issuer   string  `json:"iss"`
		Audience string  `json:"aud"`
		Email    string  `json:"email"`
		Issued   float64 `json:"iat"`
		Expires  float64 `json:"exp"`
	}
	// The decoder's error may quote the claims, so it isn't passed on.
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 {
		return nil, errors.New("not an identity token: no aud and exp in its claims")
	}
	return &Token{
		Raw: raw, Bearer: []string{"Bearer " + raw}, Issuer: claims.Issuer, Audience: claims.Audience, Email: claims.Email,
		Issued: time.Unix(int64(claims.Issued), 0), Expires: time.Unix(int64(claims.Expires), 0),
	}, nil
}

// usable reports whether the token may still be sent at now.
func (t *Token) usable(now time.Time) bool { return t != nil && now.Before(t.Expires.Add(-hardStop)) }

// refreshAt is when to start fetching the next one: from max(5 min, 10 %) before exp.
func (t *Token) refreshAt() time.Time {
	from := t.Issued
	if from.Unix() <= 0 {
		from = t.fetched
	}
	return t.Expires.Add(-max(minLead, t.Expires.Sub(from)/10))
}

// A Cache keeps tokens by audience. Set its fields before the first call.
type Cache struct {
	// Fetch gets a new token for an audience.
	Fetch func(ctx context.Context, audience string) (string, error)
	// Failed, if set, is told of refreshes that failed while the old token goes on
	// being used.
	Failed func(audience string, left time.Duration, err error)

	entries sync.Map // audience -> *entry
}

type entry struct {
	mu        sync.Mutex
	token     *Token
	call      *call     // in flight
	notBefore time.Time // of the next refresh in the background
}

type call struct {
	done  chan struct{}
	token *Token
	err   error
}

// Token returns a token for audience: the kept one while it lasts, else a new
// one. Callers that come while one is being fetched wait for that one. A failure
// is returned to those who waited for it and isn't kept.
func (c *Cache) Token(ctx context.Context, audience string) (*Token, error) {
	v, ok := c.entries.Load(audience)
	if !ok {
		v, _ = c.entries.LoadOrStore(audience, new(entry))
	}
	e := v.(*entry)
	now := time.Now()

	e.mu.Lock()
	token := e.token
	if token.usable(now) {
		if e.call == nil && !now.Before(token.refreshAt()) && !now.Before(e.notBefore) {
			e.notBefore = now.Add(refreshPause)
			c.start(e, audience)
		}
		e.mu.Unlock()
		return token, nil
	}
	fetch := e.call
	if fetch == nil {
		fetch = c.start(e, audience)
	}
	e.mu.Unlock()

	select {
	case <-fetch.done:
		return fetch.token, fetch.err
	case <-ctx.Done():
		return nil, fmt.Errorf("identity token for %s: %w", audience, context.Cause(ctx))
	}
}

// start begins a fetch that no caller's end cuts short. e.mu is held.
func (c *Cache) start(e *entry, audience string) *call {
	running := &call{done: make(chan struct{})}
	e.call = running
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchLimit)
		defer cancel()
		running.token, running.err = c.fetch(ctx, audience)

		e.mu.Lock()
		old := e.token
		e.call = nil
		if running.err == nil {
			e.token = running.token
		}
		e.mu.Unlock()
		close(running.done)
		if now := time.Now(); running.err != nil && old.usable(now) && c.Failed != nil {
			c.Failed(audience, old.Expires.Sub(now), running.err)
		}
	}()
	return running
}

func (c *Cache) fetch(ctx context.Context, audience string) (*Token, error) {
	raw, err := c.Fetch(ctx, audience)
	if err != nil {
		return nil, fmt.Errorf("identity token for %s: %w", audience, err)
	}
	token, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("identity token for %s: metadata server: its answer is %w", audience, err)
	}
	token.fetched = time.Now()
	if !token.usable(token.fetched) {
		return nil, fmt.Errorf("identity token for %s: metadata server: its token expired at %s, or is about to; is this machine's clock right?", audience, token.Expires.UTC().Format(time.RFC3339))
	}
	return token, nil
}

// Drop forgets token, which a front end refused, so that the next call fetches
// another. It reports false, and keeps it, if it is too fresh for another to
// fare better.
func (c *Cache) Drop(audience string, token *Token) bool {
	v, ok := c.entries.Load(audience)
	if !ok {
		return false
	}
	e := v.(*entry)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.token != token {
		return e.token != nil // somebody was faster: there is another one to try
	}
	if time.Since(token.fetched) < freshFor {
		return false
	}
	e.token = nil
	return true
}
