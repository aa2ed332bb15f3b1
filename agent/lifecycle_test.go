package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestPartsStopInTheOppositeOrder(t *testing.T) {
	var stopped []string
	l := lifecycle{log: slog.New(slog.DiscardHandler)}
	broken := errors.New("broken")
	for _, name := range []string{"a", "b", "c"} {
		l.started(name, func(context.Context) error {
			stopped = append(stopped, name)
			if name == "b" {
				return broken
			}
			return nil
		})
	}
	if err := l.stop(); !errors.Is(err, broken) {
		t.Errorf("the error is lost: %v", err)
	}
	if !slices.Equal(stopped, []string{"c", "b", "a"}) {
		t.Errorf("stopped in the order %v", stopped)
	}
}

func TestAHangingPartDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		begin := time.Now()
		l := lifecycle{log: slog.New(slog.DiscardHandler)}
		last := false
		l.started("first", func(context.Context) error { last = true; return nil })
		for range 2 {
			l.started("hangs", func(context.Context) error { <-release; return nil })
		}
		if err := l.stop(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took > 10*time.Second || !last {
			t.Errorf("took %v; the first part was stopped: %v", took, last)
		}
	})
}
