package actors

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// heard is a store that confirms what it shows, or not.
type heard struct {
	mu    sync.Mutex
	fails func(context.Context) error // guarded by mu; nil confirms
	asks  int                         // guarded by mu
}

func (h *heard) catchUp(ctx context.Context) error {
	h.mu.Lock()
	h.asks++
	fails := h.fails
	h.mu.Unlock()
	if fails != nil {
		return fails(ctx)
	}
	return nil
}

func (h *heard) becomes(fails func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails = fails
}

func (h *heard) asked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asks
}

func TestALeaseIsRenewedWhileItIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heard{}
		l := newLease(h.catchUp, 5*time.Second)
		held, release, err := l.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		if held.Err() != nil || !l.Stands() {
			t.Errorf("the lease ended: %v", context.Cause(held))
		}
		if n := h.asked(); n < 12 || n > 60 {
			t.Errorf("the store was asked %d times in a minute", n)
		}
		release()
		if held.Err() == nil {
			t.Error("the context goes on behind release")
		}
		<-time.After(5 * time.Second)
		if l.Stands() {
			t.Error("the lease goes on without being renewed")
		}
	})
}

func TestALeaseLapses(t *testing.T) {
	for name, fails := range map[string]func(context.Context) error{
		"without a leader":    func(context.Context) error { return wire.ErrNoLeader },
		"with one that hangs": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &heard{}
				l := newLease(h.catchUp, 5*time.Second)
				held, release, err := l.Hold(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer release()
				began := time.Now()
				h.becomes(fails)
				select {
				case <-held.Done():
				case <-time.After(time.Minute):
				}
				if took := time.Since(began); took > 5*time.Second || took < 4900*time.Millisecond {
					t.Errorf("it ended after %v, want 5 s", took)
				}
				if l.Stands() || !errors.Is(context.Cause(held), wire.ErrUnavailable) {
					t.Errorf("stands: %v, cause %v", l.Stands(), context.Cause(held))
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if _, _, err := l.Hold(ctx); err == nil {
					t.Error("it was held again without being confirmed")
				}
			})
		})
	}
}

// The time counts from the question: what the leader said since, it may have
// said to another.
func TestALeaseCountsFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLease(func(context.Context) error { <-time.After(3 * time.Second); return nil }, 5*time.Second)
		if err := l.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := l.left(); left != 2*time.Second {
			t.Errorf("%v are left, want 2 s", left)
		}
	})
}

func TestManyHoldOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heard{}
		l := newLease(h.catchUp, 5*time.Second)
		for range 100 {
			_, release, err := l.Hold(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer release()
		}
		<-time.After(10 * time.Second)
		if n := h.asked(); n > 8 {
			t.Errorf("100 holders asked %d times in 10 s", n)
		}
	})
}
