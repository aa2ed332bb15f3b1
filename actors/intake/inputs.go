package intake

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/actors/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// input is one place that this node fetches frames from.
type input struct {
	source wire.SourceID
	ingest.Input
}

// Fetch keeps a Fetcher at work for each input that is this node's, until ctx
// ends and all have stopped: queues are emptied by the node that owns their
// cluster, directories by the node that they name. One that crashes is started
// again after a pause.
func (i *Intake) Fetch(ctx context.Context, service *ingest.Service) {
	var work sync.WaitGroup
	defer work.Wait()
	running := map[input]context.CancelFunc{}
	for {
		v := i.cfg.View()
		wanted := i.inputs(v)
		for in, stop := range running {
			if !wanted[in] {
				stop()
				delete(running, in)
			}
		}
		for in := range wanted {
			if running[in] != nil {
				continue
			}
			own, stop := context.WithCancel(ctx)
			running[in] = stop
			work.Go(func() { i.supervise(own, service, in) })
		}
		if v.Changed(ctx) != nil {
			for _, stop := range running {
				stop()
			}
			return
		}
	}
}

// inputs are those of this node. A cluster that is handed over is emptied by
// two nodes for a moment, which does no harm: what comes twice is stored once.
func (i *Intake) inputs(v *state.View) map[input]bool {
	all := map[input]bool{}
	for _, row := range v.Ingestions() {
		if q := row.Queue; q != nil {
			if c, found := v.Cluster(q.Cluster); found && c.Status.Owner == i.cfg.Node {
				all[input{row.Source, ingest.Input{Kind: ingest.InputKind(q.Kind), Cluster: q.Cluster, Key: q.Key, Group: q.Group}}] = true
			}
		}
		if d := row.Directory; d != nil && d.Node == i.cfg.Node {
			in := ingest.Input{Kind: ingest.InputDirectory, Path: d.Path, Glob: d.Pattern, After: ingest.AfterDelete}
			if d.Done != "" {
				in.After, in.Done = ingest.AfterMove, d.Done
			}
			all[input{row.Source, in}] = true
		}
	}
	return all
}

// crashPause is between a crash of a Fetcher and its next start.
const crashPause = 5 * time.Second

func (i *Intake) supervise(ctx context.Context, service *ingest.Service, in input) {
	log := i.cfg.Logger.With("source", in.source, "input", in.Kind)
	log.Info("frames are fetched")
	defer log.Info("frames are not fetched any more")
	for ctx.Err() == nil {
		if err := i.fetch(ctx, service, in); err != nil {
			log.Error("fetching frames crashed, and begins again", "in", crashPause, "err", err)
			sleep(ctx, crashPause)
		}
	}
}

// fetch fetches until ctx ends. Errors: of a panic.
func (i *Intake) fetch(ctx context.Context, service *ingest.Service, in input) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v\n%s", p, debug.Stack())
		}
	}()
	f := ingest.Fetcher{Service: service, Source: in.source, Input: in.Input}
	if in.Cluster != "" {
		f.Queues = queues{i, in.Cluster}
	}
	f.Run(ctx)
	return nil
}

// queues finds the way to a cluster anew each time: it may be closed and opened
// in between.
type queues struct {
	*Intake
	name wire.ClusterName
}

var _ ingest.Queues = queues{}

func (q queues) Redis(ctx context.Context) (*redis.Client, error) {
	p, err := q.paths.to(q.cfg.View(), q.name)
	if err != nil {
		return nil, err
	}
	return p.cluster.Redis(ctx)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
