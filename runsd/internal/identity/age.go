package identity

import "time"

// Age makes the tokens in c look fetched d ago, for tests of what becomes of old
// ones.
func Age(c *Cache, d time.Duration) {
	c.entries.Range(func(_, v any) bool {
		e := v.(*entry)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.token != nil {
			t := *e.token
			t.fetched = t.fetched.Add(-d)
			e.token = &t
		}
		return true
	})
}
