package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strconv"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/raftstore/state"
)

const (
	// storeTimeout bounds storing a report; without a leader the next round
	// tries again.
	storeTimeout = 10 * time.Second
	// askTimeout bounds one question to a database.
	askTimeout = 5 * time.Second
)

// worker runs rounds. It keeps nothing but its configuration.
type worker struct {
	cfg Config
	ctx context.Context // of the actor, for backups
	now func() time.Time
}

// result is what one round came to.
type result struct {
	// err says that this node may not act, that nothing could be observed, or
	// that the report is not stored.
	err error
	// untold is why what was seen is not in the store.
	untold error
	// gone is true when it is not this node's in this epoch (any more).
	gone  bool
	ready bool
	acted bool
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
	row, secret, ok := w.owned(w.cfg.Store.View())
	if !ok {
		return result{gone: true}
	}
	in := Input{Row: *row, Changing: secret.Changing, Bound: w.cfg.Driver.StorageNodeBound(), Past: w.cfg.Record.past}
	if row.Status.Phase != wire.PhaseRemoving {
		in.Seen = w.observe(limited, row, secret)
	}
	in.Now = w.now()
	w.askForBackup(&in)
	plan := MakePlan(in)
	if row.Status.Phase == wire.PhaseReady && plan.Report.Phase != wire.PhaseReady && len(plan.Actions) > 0 {
		// Told before it is worked on: a server may take long to start.
		if w.store(limited, &in, plan.Report) == nil {
			in.Row.Status = plan.Report
		}
	}
	res := result{acted: len(plan.Actions) > 0}
	if purged := w.act(limited, &in, secret, &plan); purged {
		return result{gone: true}
	}
	if err := context.Cause(held); err != nil {
		return result{err: err, untold: err} // what was seen may be cut off
	}
	res.ready = plan.Report.Phase == wire.PhaseReady
	if res.untold = w.store(ctx, &in, plan.Report); res.untold == nil {
		w.cfg.Record.backupTold(in.Backup.Ended)
	}
	res.err = errors.Join(in.Seen.Err, res.untold)
	return res
}

// owned is the row with its secret, if it is this node's in this epoch.
func (w *worker) owned(view *state.View) (*wire.PersistentInstance, state.Secret, bool) {
	row, ok := view.Persistent(w.cfg.ID)
	if !ok || row.Status.Owner != w.cfg.Node || row.Status.OwnerEpoch != w.cfg.Epoch {
		return nil, state.Secret{}, false
	}
	secret := state.Secret{ID: w.cfg.ID}
	if s, ok := view.Secret(w.cfg.ID); ok {
		secret = *s
	}
	return row, secret, true
}

// mayAct is asked before each step; the reasons are those of a cluster's
// (actors/instance): the order matters.
func (w *worker) mayAct(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !w.cfg.Lease.Stands() {
		return wire.Errorf(wire.CodeUnavailable, "it is not certain that this node still owns the persistent FrameDB")
	}
	if _, _, ok := w.owned(w.cfg.Store.View()); !ok {
		return wire.Errorf(wire.CodeConflict, "this node does not own the persistent FrameDB in epoch %d any more", w.cfg.Epoch)
	}
	return nil
}

func (w *worker) observe(ctx context.Context, row *wire.PersistentInstance, secret state.Secret) Observation {
	var o Observation
	if o.Storage, o.Err = w.cfg.Driver.ObserveStorage(ctx, w.cfg.ID); o.Err != nil || !o.Running {
		return o
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var engine wire.Engine
	var version string
	if engine, version, o.AskErr = w.cfg.Database.Ask(ctx, w.login(row, secret, &o.Storage)); o.AskErr == nil {
		o.Engine, o.Version = engine, version
	}
	return o
}

// login is with the password that the database is to have.
func (w *worker) login(row *wire.PersistentInstance, secret state.Secret, seen *deploy.Storage) Login {
	at := Login{
		Address: net.JoinHostPort(seen.Host, strconv.Itoa(seen.Port)),
		User:    wire.DefaultStorageUser, Database: wire.DefaultDatabase, Password: secret.Password,
	}
	if at.Password == "" {
		at.Password = w.cfg.Password
	}
	if seen.Node == w.cfg.Node {
		at.Socket = seen.Socket
	}
	if e := row.External; e != nil {
		at.User, at.Database, at.TLS = e.User, e.Database, e.TLS
	}
	return at
}

// act does the plan's steps in their order, as long as this node may.
func (w *worker) act(ctx context.Context, in *Input, secret state.Secret, plan *Plan) (purged bool) {
	for _, a := range plan.Actions {
		if err := w.mayAct(ctx); err != nil {
			w.cfg.Logger.Warn("a round ends early", "framedb_id", w.cfg.ID, "before", a.String(), "err", err)
			return false
		}
		w.cfg.Logger.Info("reconcile", "framedb_id", w.cfg.ID, "do", a.String())
		err := w.do(ctx, in, secret, a)
		if err != nil && ctx.Err() == nil {
			w.cfg.Logger.Warn("could not "+a.String(), "framedb_id", w.cfg.ID, "err", err)
			plan.blame(err)
		}
		if _, purge := a.(Purge); purge {
			return err == nil
		}
	}
	return false
}

// blame puts a step that failed into the report.
func (p *Plan) blame(err error) {
	p.Report.Reason = wire.AsError(err).Message
	p.Report.Phase = phase(p.Report.Phase, false)
}

func (w *worker) do(ctx context.Context, in *Input, secret state.Secret, a Action) error {
	past := &w.cfg.Record.past
	switch a.(type) {
	case Apply:
		return w.apply(ctx, in, secret)
	case Prepare:
		err := w.cfg.Database.Prepare(ctx, w.login(&in.Row, secret, &in.Seen.Storage))
		past.failed(err)
		if err == nil {
			past.Prepared = in.Row.Generation
		}
		return err
	case BackUp:
		w.backUp(*in.Row.Backup)
		return nil
	case Purge:
		return w.purge(ctx)
	}
	return fmt.Errorf("unknown action %T", a)
}

func (w *worker) apply(ctx context.Context, in *Input, secret state.Secret) error {
	past := &w.cfg.Record.past
	*past = past.tried(in.Now, in.Row.Generation)
	err := w.cfg.Driver.ApplyStorage(ctx, w.cfg.ID, in.Row.StorageSpec, deploy.StoragePassword{
		Password: secret.Password, Former: secret.Former, Changing: secret.Changing,
	})
	past.failed(err)
	if err != nil {
		return err
	}
	past.Applied, past.Overlap = in.Row.Generation, time.Time{}
	if secret.Changing {
		past.Overlap = in.Now
	}
	return nil
}

// failed notes why a step failed, or that it did not.
func (p *Past) failed(err error) {
	p.Failure = ""
	if err != nil {
		p.Failure = wire.AsError(err).Message
	}
}

func (w *worker) purge(ctx context.Context) error {
	if err := w.cfg.Driver.RemoveStorage(ctx, w.cfg.ID); err != nil {
		return err
	}
	_, err := w.cfg.Store.Propose(ctx, "", state.PurgeStorage{ID: w.cfg.ID, Epoch: w.cfg.Epoch})
	return err
}

// store stores the report if anything in it is new.
func (w *worker) store(ctx context.Context, in *Input, s wire.StorageStatus) error {
	old := in.Row.Status
	if reflect.DeepEqual(s, old) {
		return nil
	}
	if old.Phase != s.Phase || old.Reason != s.Reason {
		w.cfg.Logger.Info("persistent FrameDB is "+string(s.Phase), "framedb_id", w.cfg.ID, "reason", s.Reason)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if _, err := w.cfg.Store.Propose(ctx, "", state.ReportStorage{ID: w.cfg.ID, Status: s}); err != nil {
		return fmt.Errorf("store the report of %s: %w", w.cfg.ID, err)
	}
	return nil
}
