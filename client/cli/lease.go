package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

func (a *app) leaseCommand() *cobra.Command {
	cmd := group("lease", "Hold uses of frames that come back when their consumer dies",
		a.leaseTake(), a.leaseRenew(), a.leasePutBack(), a.leaseRelease(), a.leaseList())
	cmd.Long = `Hold uses of frames that come back when their consumer dies. LEASE is a name that
the consumer chooses, for as long as it lives. It counts its frames down by put-back, in
place of frame decr, renews the lease now and then, and releases it at the end; when it
does neither, the lease lapses, and what it still holds is counted down. Nothing has a
lease unless somebody takes one.`
	return cmd
}

// leaseFlags say where a lease is.
type leaseFlags struct{ at wire.LeasePlace }

func (o *leaseFlags) add(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVar((*string)(&o.at.Cluster), "cluster", "", "the cluster that the lease is on")
	cmd.Flags().StringVar((*string)(&o.at.Source), "source", "", "a source, in place of the cluster that it is mapped to")
	must(cmd.RegisterFlagCompletionFunc("cluster", a.completeClusters(-1)))
	must(cmd.RegisterFlagCompletionFunc("source", a.completeSources(nil)))
	a.addTagFlag(cmd, (*string)(&o.at.NodeTag))
}

func (o *leaseFlags) check(cmd *cobra.Command) error {
	if (o.at.Cluster == "") == (o.at.Source == "") {
		return usagef(cmd, "give either --cluster or --source")
	}
	return nil
}

func (a *app) leaseTake() *cobra.Command {
	var tag string
	var in wire.TakeLease
	var by int64
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "take LEASE SOURCE COUNTKEY...",
		Short: "Have a lease hold uses of frames",
		Long: `Have a lease hold uses of frames, in one atomic step; it lasts --ttl from now on.
Without --add they are uses that the writer counted for this consumer; claim no
others: they would be given back, too.

When a frame is not there the others are held and the exit code is 3.`,
		Example: "  framedb lease take viewer-7 camera-001 'ref__camera-001?0?0__7' --ttl 30s",
		Args:    cobra.MinimumNArgs(3),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			in.Source, in.NodeTag, in.TTL, in.Uses = wire.SourceID(args[1]), wire.NodeTag(tag), ttl.Milliseconds(), usesOf(args[2:], by)
			used, err := s.client.TakeLease(ctx, frames.LeaseID(args[0]), in)
			if err != nil {
				return err
			}
			return s.printUsed(used)
		}),
	}
	cmd.Flags().DurationVar(&ttl, "ttl", time.Minute, "how long it lasts from now on, 1s to 24h")
	cmd.Flags().Int64Var(&by, "by", 1, "how many uses of each")
	cmd.Flags().BoolVar(&in.Add, "add", false, "add the uses to the counts")
	a.addTagFlag(cmd, &tag)
	return cmd
}

func usesOf(keys []string, by int64) []wire.Use {
	uses := make([]wire.Use, len(keys))
	for i, key := range keys {
		uses[i] = wire.Use{Key: key, By: by}
	}
	return uses
}

func (s *session) printUsed(used []wire.Used) error {
	err := s.print(notNil(used), func() {
		t := newTable(s.out, "COUNT KEY", "COUNT")
		for _, u := range used {
			count := fmt.Sprint(u.Count)
			if u.Missing {
				count = "missing"
			}
			t.row(u.Key, count)
		}
		t.flush()
	})
	if err != nil {
		return err
	}
	var missing []string
	for _, u := range used {
		if u.Missing {
			missing = append(missing, u.Key)
		}
	}
	return notThere(missing)
}

func (a *app) leaseRenew() *cobra.Command {
	var o leaseFlags
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "renew LEASE",
		Short: "Have a lease last on",
		Args:  cobra.ExactArgs(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if err := o.check(s.cmd); err != nil {
				return err
			}
			in := wire.RenewLease{LeasePlace: o.at, TTL: ttl.Milliseconds()}
			if err := s.client.RenewLease(ctx, frames.LeaseID(args[0]), in); err != nil {
				return err
			}
			return s.print(in, func() { fmt.Fprintf(s.out, "%s lasts %s from now on\n", args[0], ttl) })
		}),
	}
	cmd.Flags().DurationVar(&ttl, "ttl", time.Minute, "how long it lasts from now on, 1s to 24h")
	o.add(a, cmd)
	return cmd
}

func (a *app) leasePutBack() *cobra.Command {
	var tag string
	var by int64
	var sizes []string
	cmd := &cobra.Command{
		Use:   "put-back LEASE SOURCE COUNTKEY...",
		Short: "Count frames down that a lease holds",
		Long: `Count frames down that a lease holds, by no more than it holds of each. Without
--sizes all sizes that the cluster knows of the source go with a count at zero.

When the lease holds nothing of a frame the others are counted down and the exit
code is 3.`,
		Example: "  framedb lease put-back viewer-7 camera-001 'ref__camera-001?0?0__7'",
		Args:    cobra.MinimumNArgs(3),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			in := wire.PutBack{LeasePlace: wire.LeasePlace{Source: wire.SourceID(args[1]), NodeTag: wire.NodeTag(tag)}}
			for _, key := range args[2:] {
				in.Decrements = append(in.Decrements, wire.Decrement{Key: key, By: by, Sizes: notNil(sizes)})
			}
			done, err := s.client.PutBack(ctx, frames.LeaseID(args[0]), in)
			if err != nil {
				return err
			}
			return s.printDecremented(done)
		}),
	}
	cmd.Flags().Int64Var(&by, "by", 1, "how many uses of each")
	cmd.Flags().StringSliceVar(&sizes, "sizes", nil, "the sizes that go at zero (default: all that are known)")
	a.addTagFlag(cmd, &tag)
	return cmd
}

func (a *app) leaseRelease() *cobra.Command {
	var o leaseFlags
	cmd := &cobra.Command{
		Use:   "release LEASE",
		Short: "Give back all that a lease holds",
		Args:  cobra.ExactArgs(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if err := o.check(s.cmd); err != nil {
				return err
			}
			back, err := s.client.ReleaseLease(ctx, frames.LeaseID(args[0]), o.at)
			if err != nil {
				return err
			}
			return s.print(back, func() {
				fmt.Fprintf(s.out, "%s gave back uses of %s; %s of data went\n", args[0], plural(int(back.Frames), "frame"), plural(int(back.Deleted), "key"))
			})
		}),
	}
	o.add(a, cmd)
	return cmd
}

func (a *app) leaseList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:               "list CLUSTER",
		Aliases:           []string{"ls"},
		Short:             "List the leases of a cluster that hold something, the first to lapse first",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			all, err := s.client.Leases(ctx, wire.ClusterName(args[0]), limit)
			if err != nil {
				return err
			}
			return s.print(notNil(all), func() {
				t := newTable(s.out, "LEASE", "LEFT", "FRAMES")
				for _, l := range all {
					t.row(l.ID, millis(l.Left), l.Frames)
				}
				t.flush()
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "how many at most, 1 to 1000")
	return cmd
}

func (a *app) frameRetain() *cobra.Command {
	var tag string
	var by int64
	cmd := &cobra.Command{
		Use:   "retain SOURCE COUNTKEY...",
		Short: "Add uses to frames, for a consumer that came late",
		Long: `Add uses to frames in one atomic step, for a consumer that came late: only to
counts above zero.

When a frame is not there the others are retained and the exit code is 3.`,
		Example:           "  framedb frame retain camera-001 'ref__camera-001?0?0__7'",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			used, err := s.client.RetainFrames(ctx, wire.SourceID(args[0]), wire.RetainFrames{NodeTag: wire.NodeTag(tag), Uses: usesOf(args[1:], by)})
			if err != nil {
				return err
			}
			return s.printUsed(used)
		}),
	}
	cmd.Flags().Int64Var(&by, "by", 1, "how many uses to add")
	a.addTagFlag(cmd, &tag)
	return cmd
}

func (a *app) clusterSweep() *cobra.Command {
	var in wire.SweepCluster
	cmd := &cobra.Command{
		Use:   "sweep NAME",
		Short: "Look for what is left over of frames, and drop it",
		Long: `Look for what is left over of frames: data without a count, counts without data,
and frames at zero or below. The cluster's owner does so by itself all the time.
It is dropped when it is still left over two minutes later; --dry-run looks once
and drops nothing.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			swept, err := s.client.SweepCluster(ctx, wire.ClusterName(args[0]), in)
			if err != nil {
				return err
			}
			return s.print(swept, func() {
				t := newTable(s.out, "LEFT OVER", "JUST SEEN", "FOR TWO MINUTES")
				for _, kind := range []string{"data", "count", "spent"} {
					t.row(kind, swept.Suspects[kind], swept.Found[kind])
				}
				t.flush()
				fmt.Fprintf(s.out, "%s looked at, %s dropped\n", plural(int(swept.Keys), "key"), plural(int(swept.Unlinked), "key"))
			})
		}),
	}
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "look once and drop nothing")
	return cmd
}
