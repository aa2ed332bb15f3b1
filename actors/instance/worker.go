package instance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// storeTimeout bounds storing a report; without a leader the next round tries
// again.
const storeTimeout = 10 * time.Second

// worker runs rounds. It keeps nothing but its configuration.
type worker struct {
	cfg Config
	now func() time.Time
}

// result is what one round came to.
type result struct {
	// err says that this node may not act, the cluster could not be observed, or
	// the report not stored.
	err error
	// untold is why what was seen is not in the store.
	untold error
	// gone is true when the cluster is not this node's in this epoch (any more).
	gone  bool
	ready bool
	acted bool
	// master is the zero endpoint when it is not known for sure.
	master wire.Endpoint
	// sentinels and members are those that run, if anything was seen.
	seen               bool
	sentinels, members []wire.Endpoint
}

// round observes, plans and acts once. Its caller holds the turn.
func (w *worker) round(ctx context.Context) result {
	held, release, err := w.cfg.Lease.Hold(ctx)
	if err != nil {
		return result{err: err, untold: err}
	}
	defer release()
	// The report is stored also when the time for all else is over.
	limited, cancel := context.WithTimeout(held, w.cfg.Timing.Round)
	defer cancel()
	in, ok := w.input()
	if !ok {
		return result{gone: true}
	}
	if in.Cluster.Status.Phase != wire.PhaseRemoving {
		in.Seen = w.observe(limited, &in.Cluster.ClusterSpec)
		w.cfg.Record.saw(in.Seen)
	}
	in.Now = w.now()
	plan := MakePlan(in)
	res := w.outcome(&in, &plan)
	if purged := w.act(limited, &in, &plan); purged {
		return result{gone: true}
	}
	if err := context.Cause(held); err != nil {
		return result{err: err, untold: err} // what was seen may be cut off
	}
	res.ready = res.ready && plan.Report.Status.Phase == wire.PhaseReady
	res.untold = w.store(ctx, &in, &plan.Report)
	res.err = errors.Join(in.Seen.Err, res.untold)
	return res
}

// owned is the cluster's row, if it is this node's in this epoch.
func (w *worker) owned(view *state.View) (*wire.Cluster, bool) {
	row, ok := view.Cluster(w.cfg.Cluster)
	return row, ok && row.Status.Owner == w.cfg.Node && row.Status.OwnerEpoch == w.cfg.Epoch
}

// mayAct is asked before each step. It does not rely on a timer or a context to
// have ended: this process may have been stopped in between. The order matters:
// while the lease stands, the view is new enough.
func (w *worker) mayAct(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !w.cfg.Lease.Stands() {
		return wire.Errorf(wire.CodeUnavailable, "it is not certain that this node still owns the cluster")
	}
	if _, ok := w.owned(w.cfg.Store.View()); !ok {
		return wire.Errorf(wire.CodeConflict, "this node does not own the cluster in epoch %d any more", w.cfg.Epoch)
	}
	return nil
}

func (w *worker) input() (Input, bool) {
	view := w.cfg.Store.View()
	row, ok := w.owned(view)
	if !ok {
		return Input{}, false
	}
	in := Input{
		Cluster: *row, Past: w.cfg.Record.past,
		Serves: w.cfg.Tags.Serves(row.NodeTag, row.Name),
	}
	for _, i := range view.InstancesOf(w.cfg.Cluster) {
		in.Stored = append(in.Stored, *i)
	}
	return in, true
}

func (w *worker) outcome(in *Input, plan *Plan) result {
	res := result{ready: true, seen: in.Seen.Err == nil, sentinels: in.Seen.sentinels()}
	for i := range in.Seen.Members {
		if m := &in.Seen.Members[i]; m.Redis.Running {
			res.members = append(res.members, m.redis())
		}
	}
	for _, a := range plan.Actions {
		if _, serve := a.(ServeTag); !serve {
			res.acted, res.ready = true, false
		}
	}
	if master, ok := in.Seen.agreed(in.Cluster.Quorum); ok {
		if m := in.Seen.at(master); m != nil && m.Answers() && m.Info.Role == wire.RoleMaster {
			res.master = master
		}
	}
	return res
}

// act does the plan's steps in their order, as long as this node may. A step
// that fails does not keep the later ones from being done: each is right by
// itself.
func (w *worker) act(ctx context.Context, in *Input, plan *Plan) (purged bool) {
	w.log(plan.Actions)
	for _, a := range plan.Actions {
		if err := w.mayAct(ctx); err != nil {
			w.cfg.Logger.Warn("a round ends early", "cluster", w.cfg.Cluster, "before", a.String(), "err", err)
			return false
		}
		err := w.do(ctx, in, a)
		switch {
		case err == nil:
		case errors.Is(err, sentinel.ErrInProgress), errors.Is(err, context.Canceled):
		default:
			w.cfg.Logger.Warn("could not "+a.String(), "cluster", w.cfg.Cluster, "err", err)
			plan.Report.Blame(a, err)
		}
		if _, purge := a.(Purge); purge {
			return err == nil
		}
	}
	return false
}

// log tells what is going to be done, if that is news.
func (w *worker) log(actions []Action) {
	var steps []string
	for _, a := range actions {
		if _, routine := a.(ServeTag); !routine {
			steps = append(steps, a.String())
		}
	}
	todo := strings.Join(steps, ", ")
	if todo != "" && todo != w.cfg.Record.past.logged {
		w.cfg.Logger.Info("reconcile", "cluster", w.cfg.Cluster, "do", todo)
	}
	w.cfg.Record.past.logged = todo
}

func (w *worker) do(ctx context.Context, in *Input, a Action) error {
	past := &w.cfg.Record.past
	switch a := a.(type) {
	case Apply:
		err := w.cfg.Driver.Apply(ctx, w.cfg.Cluster, a.Spec)
		if err == nil && a.Generation != 0 {
			past.Applied = a.Generation
		}
		return err
	case Failover:
		past.FailoverAt = in.Now
		return w.failover(ctx, a)
	case Restart:
		past.RestartAt = in.Now
		return w.cfg.Driver.Restart(ctx, a.Member)
	case SentinelSet:
		return w.sentinelSet(ctx, a)
	case SentinelReset:
		return w.cfg.Sentinels.Reset(ctx, a.Sentinel)
	case ConfigSet:
		return w.configSet(ctx, a)
	case ServeTag:
		return w.cfg.Tags.Point(ctx, a.Tag, w.cfg.Cluster, a.Member)
	case Purge:
		return w.purge(ctx)
	}
	return fmt.Errorf("unknown action %T", a)
}

// handover is how long a master that hands over holds writes back: Sentinel
// needs about a second, and then the member ends.
const handover = 3 * time.Second

func (w *worker) failover(ctx context.Context, a Failover) error {
	if a.Pause.Port == 0 {
		return w.cfg.Sentinels.Failover(ctx, a.Sentinels)
	}
	master := w.cfg.Record.conns.At(a.Pause)
	if err := master.Do(ctx, "CLIENT", "PAUSE", handover.Milliseconds(), "WRITE").Err(); err != nil {
		return fmt.Errorf("hold writes on %s: %w", address(a.Pause), plain(err))
	}
	err := w.cfg.Sentinels.Failover(ctx, a.Sentinels)
	if err != nil {
		master.ClientUnpause(ctx) // if that fails, the time passes
	}
	return err
}

func (w *worker) sentinelSet(ctx context.Context, a SentinelSet) error {
	if a.InfoPeriod != 0 {
		if err := w.cfg.Sentinels.SetInfoPeriod(ctx, a.Sentinel, a.InfoPeriod); err != nil {
			return err
		}
	}
	return w.cfg.Sentinels.Set(ctx, a.Sentinel, a.Options)
}

func (w *worker) configSet(ctx context.Context, a ConfigSet) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var refused error // the first by name: the reason stays the same
	for _, name := range slices.Sorted(maps.Keys(a.Options)) {
		err := w.cfg.Record.conns.At(a.Redis).ConfigSet(ctx, name, a.Options[name]).Err()
		if err != nil && refused == nil {
			refused = fmt.Errorf("set %s of %s: %w", name, a.Member, plain(err))
		}
	}
	return refused
}

// purge ends a cluster. Its writers listen on its own Redis: they are told
// where to write first, as long as that takes a moment only.
func (w *worker) purge(ctx context.Context) error {
	goodbye, cancel := context.WithTimeout(ctx, w.cfg.Timing.Goodbye)
	defer cancel()
	if !w.cfg.Record.Outbox.Flush(goodbye) {
		w.cfg.Logger.Warn("the cluster ends before all its writers were told of it", "cluster", w.cfg.Cluster)
	}
	if err := w.cfg.Driver.Remove(ctx, w.cfg.Cluster); err != nil {
		return err
	}
	_, err := w.cfg.Store.Propose(ctx, "", state.PurgeCluster{Name: w.cfg.Cluster, Epoch: w.cfg.Epoch})
	return err
}

// store stores the report if anything in it is new.
func (w *worker) store(ctx context.Context, in *Input, r *Report) error {
	if !r.Differs(in) {
		return nil
	}
	if old := in.Cluster.Status; old.Phase != r.Status.Phase || old.Reason != r.Status.Reason {
		w.cfg.Logger.Info("cluster is "+string(r.Status.Phase), "cluster", w.cfg.Cluster, "reason", r.Status.Reason)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	cmd := state.ReportCluster{Name: w.cfg.Cluster, Status: r.Status, Instances: r.Instances}
	if _, err := w.cfg.Store.Propose(ctx, "", cmd); err != nil {
		return fmt.Errorf("store the report of %s: %w", w.cfg.Cluster, err)
	}
	return nil
}
