package client

import "time"

// SetSilence changes how long c lets an event stream be silent.
func SetSilence(c *Client, d time.Duration) { c.silence = d }
