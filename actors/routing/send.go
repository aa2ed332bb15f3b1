package routing

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/wire"
)

const (
	// batchSize bounds the messages of one pipeline.
	batchSize = 256
	// sendTimeout bounds one pipeline.
	sendTimeout = 2 * time.Second
)

// sender empties one outbox into one Redis.
type sender struct {
	cluster   wire.ClusterName
	namespace string
	store     Store
	box       *Outbox
}

// run sends everything that waits, until there is no more, ctx ends, or an
// error. It returns how many messages were sent.
func (s *sender) run(ctx context.Context, rdb *redis.Client) (int, error) {
	total := 0
	for ctx.Err() == nil {
		b := s.box.next(batchSize)
		var n int
		var err error
		switch {
		case len(b.changes) > 0:
			n, err = s.sendChanges(ctx, rdb, b)
		case b.refresh:
			n, err = s.sendPresent(ctx, rdb)
		default:
			return total, nil
		}
		total += n
		if err != nil {
			s.box.failed()
			return total, err
		}
	}
	return total, ctx.Err()
}

func (s *sender) sendChanges(ctx context.Context, rdb *redis.Client, b batch) (int, error) {
	c := newComposer(s.store.View(), s.namespace)
	var messages []message
	for _, ch := range b.changes {
		m, ok, err := c.change(ch)
		if err != nil {
			return 0, err
		}
		if ok {
			messages = append(messages, m)
		}
	}
	if err := publish(ctx, rdb, messages); err != nil {
		return 0, err
	}
	s.box.sent(b)
	return len(messages), nil
}

// sendPresent sends every source of the cluster its present entries.
func (s *sender) sendPresent(ctx context.Context, rdb *redis.Client) (int, error) {
	s.box.refreshing()
	view := s.store.View()
	c := newComposer(view, s.namespace)
	rows := view.MappingsTo(s.cluster)
	total := 0
	for len(rows) > 0 {
		n := min(batchSize, len(rows))
		var messages []message
		for _, row := range rows[:n] {
			m, ok, err := c.present(row.Source)
			if err != nil {
				return total, err
			}
			if ok {
				messages = append(messages, m)
			}
		}
		if err := publish(ctx, rdb, messages); err != nil {
			s.box.Refresh()
			return total, err
		}
		rows, total = rows[n:], total+n
	}
	return total, nil
}

func publish(ctx context.Context, rdb *redis.Client, messages []message) error {
	if len(messages) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, m := range messages {
			p.Publish(ctx, m.channel, m.body)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("publish routing changes: %w", err)
	}
	return nil
}
