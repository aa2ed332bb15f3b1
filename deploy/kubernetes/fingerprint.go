package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// fingerprint stands for what is applied.
func fingerprint(o *Objects) (string, error) {
	b, err := json.Marshal(o.All())
	if err != nil {
		return "", fmt.Errorf("write the objects: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// pollEvery is between looks at something that is about to be gone.
const pollEvery = 200 * time.Millisecond

// until polls until done says so, or ctx ends.
func (d *Driver) until(ctx context.Context, done func(context.Context) (bool, error)) error {
	for {
		ok, err := done(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
