package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) storageCommand() *cobra.Command {
	return group("storage", "Create, look at, change and remove persistent FrameDBs",
		a.storageCreate(), a.storageList(), a.storageInfo(), a.storageUpdate(), a.storageScale(), a.storagePassword(), a.storageRemove())
}

func (a *app) storageList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List all persistent FrameDBs",
		Args:    cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			all, err := s.client.PersistentInstances(ctx)
			if err != nil {
				return err
			}
			return s.print(notNil(all), func() { s.storageTable(all) })
		}),
	}
}

func (s *session) storageTable(all []wire.PersistentInstance) {
	t := newTable(s.out, "STORAGE", "NODE TAG", "PHASE", "ENGINE", "READY", "SIZE", "URL", "OWNER", "REASON")
	for i := range all {
		p := &all[i]
		t.row(p.ID, p.NodeTag, p.Status.Phase, p.Status.Engine, readyServers(p), p.StorageSize, p.Status.URL, p.Status.Owner, p.Status.Reason)
	}
	t.flush()
}

// readyServers is "1/1 3/3 2/2" for PD, TiKV and TiDB. Another engine is one
// server.
func readyServers(p *wire.PersistentInstance) string {
	have, want := p.Status.Ready, p.Replicas
	if isOne(p) {
		ready, _ := countServers(p)
		return fmt.Sprintf("%d/1", ready)
	}
	return fmt.Sprintf("%d/%d %d/%d %d/%d", have.PD, want.PD, have.TiKV, want.TiKV, have.TiDB, want.TiDB)
}

// isOne reports whether it is one server, whatever its spec says.
func isOne(p *wire.PersistentInstance) bool { return p.External != nil || notTiDB(p.Status.Engine) }

func countServers(p *wire.PersistentInstance) (ready, wanted int) {
	have, want := p.Status.Ready, p.Replicas
	if isOne(p) {
		return min(1, have.PD+have.TiKV+have.TiDB), 1
	}
	return have.PD + have.TiKV + have.TiDB, want.PD + want.TiKV + want.TiDB
}

func storageUrgency(p *wire.PersistentInstance) int {
	return slices.Index([]wire.Phase{wire.PhaseReady, wire.PhaseRemoving, wire.PhaseCreating, wire.PhaseDegraded}, p.Status.Phase)
}

func (a *app) storageInfo() *cobra.Command {
	return &cobra.Command{
		Use:               "info ID",
		Short:             "Show a persistent FrameDB",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeStorage(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			p, err := s.client.PersistentInstance(ctx, wire.FrameDBID(args[0]))
			if err != nil {
				return err
			}
			return s.print(p, func() { s.printStorage(&p) })
		}),
	}
}

func (s *session) printStorage(p *wire.PersistentInstance) {
	t := newTable(s.out)
	t.row("FrameDB", p.ID)
	t.row("Node tag", p.NodeTag)
	t.row("Phase", p.Status.Phase)
	if p.Status.Reason != "" {
		t.row("Reason", p.Status.Reason)
	}
	t.row("Engine", engineLine(&p.Status))
	t.row("URL", p.Status.URL)
	t.row("Socket", p.Status.Socket)
	if p.External != nil {
		t.row("External", fmt.Sprintf("%s, user %s, database %s", p.External.Address, p.External.User, p.External.Database))
	} else {
		t.row("Servers", fmt.Sprintf("%d PD, %d TiKV, %d TiDB asked for; ready %s", p.Replicas.PD, p.Replicas.TiKV, p.Replicas.TiDB, readyServers(p)))
		t.row("Size", p.StorageSize+" each TiKV")
	}
	for _, part := range []struct {
		name string
		text []byte
	}{{"PD", p.Parameters.PD}, {"TiKV", p.Parameters.TiKV}, {"TiDB", p.Parameters.TiDB}} {
		if len(part.text) > 0 {
			t.row(part.name+" parameters", string(part.text))
		}
	}
	t.row("Exclusive", onOff(p.Exclusive))
	t.row("Backup", backupLine(p))
	t.row("Owner", p.Status.Owner)
	t.row("Password", "never shown; framedb storage password sets it, /v1/credentials on the agent's socket tells it")
	t.flush()
}

// engineLine says what the engine is, and what it is not.
func engineLine(st *wire.StorageStatus) string {
	line := strings.TrimSpace(string(st.Engine) + " " + st.Version)
	if notTiDB(st.Engine) {
		line += ", which speaks TiDB's protocol and is no TiDB"
	}
	return line
}

func notTiDB(e wire.Engine) bool { return e != "" && e != wire.EngineTiDB }

func backupLine(p *wire.PersistentInstance) string {
	line := "off"
	if b := p.Backup; b != nil {
		line = fmt.Sprintf("%s to %s, all are kept", b.Schedule, b.Target)
		if b.Keep > 0 {
			line = fmt.Sprintf("%s to %s, %d are kept", b.Schedule, b.Target, b.Keep)
		}
	}
	if p.Status.LastBackup != "" {
		line += fmt.Sprintf("; last %s at %s", p.Status.LastBackup, p.Status.LastBackupAt.Format(time.RFC3339))
	}
	if p.Status.BackupReason != "" {
		line += "; a later one failed: " + p.Status.BackupReason
	}
	return line
}

func (a *app) storageRemove() *cobra.Command {
	var yes bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:     "remove ID...",
		Aliases: []string{"rm", "delete"},
		Short:   "Remove persistent FrameDBs with their data",
		Long: `Remove persistent FrameDBs with their data; that on an external server stays
there. On a terminal you are asked first. One that cannot be removed does not
stop the rest.

Removing goes on when --wait is over; the exit code is 5 then.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeStorage(-1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if !yes {
				if err := s.confirm(ctx, fmt.Sprintf("Remove %s with all data?", join(args))); err != nil {
					return err
				}
			}
			return s.removeStorages(ctx, args, wait)
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait until nothing of one is left")
	return cmd
}

// removedStorage is what storage remove prints of one.
type removedStorage struct {
	ID    wire.FrameDBID `json:"framedb_id"`
	State string         `json:"state"` // stateRemoved or stateRemoving
}

func (s *session) removeStorages(ctx context.Context, ids []string, wait time.Duration) error {
	var gone []removedStorage
	var failed error
	bar := s.progress("removing")
	for i, id := range ids {
		bar.set(i, len(ids), id)
		state, err := s.removeStorage(ctx, wire.FrameDBID(id), wait)
		if err != nil && len(ids) > 1 {
			err = fmt.Errorf("%s: %w", id, err)
		}
		failed = errors.Join(failed, err)
		if state != "" {
			gone = append(gone, removedStorage{wire.FrameDBID(id), state})
		}
	}
	bar.finish()
	printed := s.print(notNil(gone), func() {
		for _, g := range gone {
			fmt.Fprintf(s.out, "%s is %s\n", g.ID, map[string]string{stateRemoved: "removed", stateRemoving: "being removed"}[g.State])
		}
	})
	return errors.Join(failed, printed)
}

// removeStorage returns what was done also with an error, once it is begun.
func (s *session) removeStorage(ctx context.Context, id wire.FrameDBID, wait time.Duration) (state string, err error) {
	if _, err := s.client.RemoveStorage(ctx, id, wait); err != nil {
		return "", err
	}
	// The agent gives the same answer when it is gone and when the wait is over.
	left, err := s.client.PersistentInstance(ctx, id)
	switch {
	case errors.Is(err, wire.ErrNotFound), err == nil && left.Status.Phase != wire.PhaseRemoving: // or made anew
		return stateRemoved, nil
	case err != nil:
		return stateRemoving, fmt.Errorf("whether it is gone by now: %w", err)
	}
	return stateRemoving, wire.Errorf(wire.CodeTimeout, "storage %s is being removed and goes on; see framedb storage info %s", id, id)
}
