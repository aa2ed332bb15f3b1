package agent

import (
	"context"

	"github.com/framedb/framedb/actors/sweep"
	"github.com/framedb/framedb/client/objects/pool"
	"github.com/framedb/framedb/httpapi"
)

// openObjects opens no FrameDB yet: who uses one does.
func (a *agent) openObjects(context.Context) error {
	a.objects = pool.New(pool.Config{
		Locator:   httpapi.Locator{Node: a.node, Password: a.password, View: a.store.View},
		Sentinels: a.sentinels, Logger: a.log,
		// A store that is open at the next sweep goes on where the last one ended.
		IdleFor: 2 * sweep.DefaultEvery,
	})
	a.life.started("objects", func(context.Context) error { return a.objects.Close() })
	return nil
}
