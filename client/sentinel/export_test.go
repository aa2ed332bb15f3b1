package sentinel

import "time"

// SetSilence changes how long a watched Sentinel may say nothing.
func SetSilence(c *Client, d time.Duration) { c.silence = d }
