package identity

import (
	"sync/atomic"
	"time"
)

// A Clock is a clock that runs with the system's and can be moved, so that a test
// sees a token expire without waiting an hour. The zero Clock shows the system's
// time. Give its Now to [Config].
type Clock struct{ offset atomic.Int64 }

// Now returns the time on the clock.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// Move moves the clock by d, back if d is negative.
func (c *Clock) Move(d time.Duration) { c.offset.Add(int64(d)) }
