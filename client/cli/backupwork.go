package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// What takes long, with a bar.

// showWork draws progress; done takes the bar away.
func (s *session) showWork(label string) (draw func(wire.BackupProgress), done func()) {
	bar := s.progress(label)
	return func(p wire.BackupProgress) {
		bar.setBytes(p.Bytes, max(p.TotalBytes, p.Bytes), fmt.Sprintf("%d/%d objects", p.Objects, p.TotalObjects))
	}, bar.finish
}

func (a *app) backupCreate() *cobra.Command {
	var o backupFlags
	var in wire.CreateBackup
	var name string
	cmd := &cobra.Command{
		Use:   "create ID",
		Short: "Back up a FrameDB, or some of its objects",
		Long: `Back up a FrameDB, or some of its objects. Each object is in the backup whole, as it
was at some moment while the command ran. What S3 has from earlier backups is not
sent again; a backup that was interrupted is completed by the same command.`,
		Example:           "  framedb backup create archive\n  framedb backup create corpus --name before-upgrade --prefix crops/",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			var err error
			if in.Target, err = s.targetOf(ctx, &o); err != nil {
				return err
			}
			in.Name = wire.BackupName(name)
			draw, done := s.showWork("backing up")
			report, err := s.client.CreateBackup(ctx, wire.FrameDBID(args[0]), in, draw)
			done()
			if err != nil {
				return err
			}
			return s.print(report, func() {
				s.backupTable([]wire.Backup{report.Backup})
				s.note("%s sent, the rest was there", formatBytes(report.Sent))
			})
		}),
	}
	o.add(cmd, a)
	cmd.Flags().StringVar(&name, "name", "", "name of the backup (default: one made of the time)")
	selectionFlags(cmd, &in.Prefixes, &in.Keys)
	cmd.Flags().BoolVar(&in.SkipDamaged, "skip-damaged", false, "leave out objects whose bytes are damaged, which fail the backup otherwise")
	return cmd
}

func (a *app) backupRestore() *cobra.Command {
	var o backupFlags
	var in wire.RestoreBackup
	var to string
	cmd := &cobra.Command{
		Use:   "restore ID NAME",
		Short: "Restore a backup, into any FrameDB",
		Long: `Restore the objects of a backup into the FrameDB that they are of, or with --to into
another one, whatever holds it. Objects that are there and differ stay unless
--overwrite is given; objects that are not in the backup stay as they are. A restore
that was interrupted goes on when it is repeated.`,
		Example:           "  framedb backup restore archive before-upgrade\n  framedb backup restore archive before-upgrade --to corpus --prefix crops/ --overwrite",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInstances,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			var err error
			if in.Target, err = s.targetOf(ctx, &o); err != nil {
				return err
			}
			in.To = wire.FrameDBID(to)
			draw, done := s.showWork("restoring")
			report, err := s.client.RestoreBackup(ctx, wire.FrameDBID(args[0]), wire.BackupName(args[1]), in, draw)
			done()
			if err != nil {
				return err
			}
			return s.print(report, func() { s.restored(report) })
		}),
	}
	o.add(cmd, a)
	cmd.Flags().StringVar(&to, "to", "", "the FrameDB that gets the objects (default: ID)")
	selectionFlags(cmd, &in.Prefixes, &in.Keys)
	cmd.Flags().BoolVar(&in.Overwrite, "overwrite", false, "replace objects that are there and differ")
	cmd.Flags().BoolVar(&in.IgnoreExpiry, "ignore-expiry", false, "restore objects whose time is over, too, and all of them to stay")
	return cmd
}

func (s *session) restored(r wire.RestoreReport) {
	fmt.Fprintf(s.out, "%s restored, %s", plural(int(r.Objects), "object"), formatBytes(r.Bytes))
	if r.Same > 0 {
		fmt.Fprintf(s.out, "; %d there already", r.Same)
	}
	if r.Expired > 0 {
		fmt.Fprintf(s.out, "; %d left out, as their time is over", r.Expired)
	}
	fmt.Fprintln(s.out)
	if r.Kept > 0 {
		s.note("%s there with other bytes and stayed, the first is %s: --overwrite replaces them", plural(int(r.Kept), "object"), r.FirstKept[0])
	}
}

func (a *app) backupVerify() *cobra.Command {
	var o backupFlags
	cmd := &cobra.Command{
		Use:               "verify ID NAME",
		Short:             "Read all bytes of a backup and compare them with what was stored",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInstances,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			target, err := s.targetOf(ctx, &o)
			if err != nil {
				return err
			}
			draw, done := s.showWork("verifying")
			report, err := s.client.VerifyBackup(ctx, wire.FrameDBID(args[0]), wire.BackupName(args[1]), target, draw)
			done()
			if err != nil && report.Damaged == 0 {
				return err
			}
			printed := s.print(report, func() {
				fmt.Fprintf(s.out, "%s right, %s\n", plural(int(report.Objects), "object"), formatBytes(report.Bytes))
				for _, d := range report.FirstDamaged {
					fmt.Fprintf(s.out, "damaged: %s: %s\n", d.Key, d.Why)
				}
			})
			return errors.Join(err, printed)
		}),
	}
	o.add(cmd, a)
	return cmd
}
