package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// lifecycle stops what was started, in the opposite order.
type lifecycle struct {
	log   *slog.Logger
	parts []part
}

// part is something that runs. One whose stop does not return when its ctx
// ends is left behind; the process is about to end.
type part struct {
	name string
	stop func(context.Context) error
}

// started notes that a part runs; it is stopped before all that were noted
// earlier.
func (l *lifecycle) started(name string, stop func(context.Context) error) {
	l.log.Debug("started", "part", name)
	l.parts = append(l.parts, part{name, stop})
}

// stopTimeout bounds the end of one part and stopTotal of all, so that SIGTERM
// ends the agent within 10 s whatever hangs.
const (
	stopTimeout = 4 * time.Second
	stopTotal   = 9 * time.Second
)

// stop ends every part, the last first; one that fails does not keep the
// others from ending.
func (l *lifecycle) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTotal)
	defer cancel()
	var errs []error
	for len(l.parts) > 0 {
		last := l.parts[len(l.parts)-1]
		l.parts = l.parts[:len(l.parts)-1]
		l.log.Debug("stopping", "part", last.name)
		if err := l.stopOne(ctx, last); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", last.name, err))
		}
	}
	return errors.Join(errs...)
}

func (l *lifecycle) stopOne(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.stop(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
