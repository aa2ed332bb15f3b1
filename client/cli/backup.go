package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

func (a *app) backupCommand() *cobra.Command {
	cmd := group("backup", "Back up FrameDBs to S3-compatible storage, and restore them",
		a.backupCreate(), a.backupList(), a.backupTargets(), a.backupRestore(), a.backupVerify(), a.backupDelete())
	cmd.Long = `Back up FrameDBs, in memory or persistent, to S3-compatible storage, and restore
them into any FrameDB.

An agent does the work; its configuration names the targets. What was interrupted
goes on when the same is asked for again. framedb storage update --backup has a
persistent FrameDB backed up by a schedule.`
	return cmd
}

// backupFlags are what most of the commands take.
type backupFlags struct{ target string }

func (o *backupFlags) add(cmd *cobra.Command, a *app) {
	cmd.Flags().StringVar(&o.target, "target", "", "a backup target of the agents' configuration (default: the only one)")
	must(cmd.RegisterFlagCompletionFunc("target", a.completeTargets))
}

// targetOf is the one that was given, or the only one that there is.
func (s *session) targetOf(ctx context.Context, o *backupFlags) (wire.BackupTargetName, error) {
	if o.target != "" {
		return wire.BackupTargetName(o.target), nil
	}
	all, err := s.client.BackupTargets(ctx)
	switch {
	case err != nil:
		return "", err
	case len(all) == 0:
		return "", wire.InField("target", wire.Errorf(wire.CodeNotFound, "the agent has no backup targets: name one in backup_targets of its configuration"))
	case len(all) > 1:
		return "", usagef(s.cmd, "give --target, one of %s", strings.Join(targetNames(all), ", "))
	}
	return all[0].Name, nil
}

func targetNames(all []wire.BackupTarget) []string {
	var names []string
	for _, t := range all {
		names = append(names, string(t.Name))
	}
	return names
}

func (a *app) completeTargets(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(toComplete, func(ctx context.Context, c *client.Client) ([]string, error) {
		all, err := c.BackupTargets(ctx)
		return targetNames(all), err
	})
}

// selectionFlags say which objects.
func selectionFlags(cmd *cobra.Command, prefixes, keys *[]string) {
	cmd.Flags().StringArrayVar(prefixes, "prefix", nil, "objects whose keys begin so; repeatable (default: all objects)")
	cmd.Flags().StringArrayVar(keys, "key", nil, "the object with this key; repeatable")
}

func (a *app) backupTargets() *cobra.Command {
	return &cobra.Command{
		Use:   "targets",
		Short: "List the places for backups that the agent knows",
		Args:  cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			all, err := s.client.BackupTargets(ctx)
			if err != nil {
				return err
			}
			return s.print(notNil(all), func() {
				t := newTable(s.out, "TARGET", "ENDPOINT", "BUCKET", "PREFIX")
				for _, b := range all {
					t.row(b.Name, b.Endpoint, b.Bucket, b.Prefix)
				}
				t.flush()
			})
		}),
	}
}

func (a *app) backupList() *cobra.Command {
	var o backupFlags
	cmd := &cobra.Command{
		Use:               "list ID",
		Aliases:           []string{"ls"},
		Short:             "List the backups of a FrameDB, which need not be there any more",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			target, err := s.targetOf(ctx, &o)
			if err != nil {
				return err
			}
			all, err := s.client.Backups(ctx, wire.FrameDBID(args[0]), target)
			if err != nil {
				return err
			}
			return s.print(notNil(all), func() { s.backupTable(all) })
		}),
	}
	o.add(cmd, a)
	return cmd
}

func (s *session) backupTable(all []wire.Backup) {
	t := newTable(s.out, "BACKUP", "CREATED", "TOOK", "OBJECTS", "SIZE", "OF", "NOTE")
	for i := range all {
		b := &all[i]
		if b.Damaged != "" {
			t.row(b.Name, "", "", "", "", "", "cannot be read: "+b.Damaged)
			continue
		}
		note := ""
		if b.Skipped > 0 {
			note = fmt.Sprintf("%d left out, the first is %q: %s", b.Skipped, b.FirstSkipped[0].Key, b.FirstSkipped[0].Why)
		}
		t.row(b.Name, when(b.Created), b.Finished.Sub(b.Created).Round(time.Second), b.Objects, formatBytes(b.Bytes), selected(b), note)
	}
	t.flush()
}

// selected says in a few words which objects were asked for.
func selected(b *wire.Backup) string {
	var parts []string
	for _, p := range b.Prefixes {
		parts = append(parts, p+"*")
	}
	parts = append(parts, b.Keys...)
	switch {
	case len(parts) == 0:
		return "all"
	case len(parts) > 3:
		return fmt.Sprintf("%s and %d more", parts[0], len(parts)-1)
	}
	return strings.Join(parts, ",")
}

func (a *app) backupDelete() *cobra.Command {
	var o backupFlags
	cmd := &cobra.Command{
		Use:               "delete ID NAME",
		Aliases:           []string{"rm", "remove"},
		Short:             "Delete a backup",
		Long:              "Delete a backup. What other backups use of it stays; the rest is freed an hour later,\nwhen backups of the FrameDB are made or deleted again.",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInstances,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			target, err := s.targetOf(ctx, &o)
			if err != nil {
				return err
			}
			if err := s.confirm(ctx, fmt.Sprintf("Delete the backup %s of %s?", args[1], args[0])); err != nil {
				return err
			}
			if err := s.client.DeleteBackup(ctx, wire.FrameDBID(args[0]), wire.BackupName(args[1]), target); err != nil {
				return err
			}
			return s.printLine(wire.Backup{Name: wire.BackupName(args[1]), FrameDB: wire.FrameDBID(args[0])}, "%s  deleted", args[1])
		}),
	}
	o.add(cmd, a)
	return cmd
}
