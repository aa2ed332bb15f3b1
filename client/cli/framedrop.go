package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) frameDecr() *cobra.Command {
	var tag string
	var sizes []string
	var by int64
	cmd := &cobra.Command{
		Use:   "decr SOURCE COUNTKEY...",
		Short: "Drop uses of frames; a frame without uses is gone",
		Long: `Drop uses of frames in one atomic step. At zero the count key and the data of
the named sizes are gone. Without --sizes they are those of the mapping, which
must name some: data of another size would stay behind. --sizes '' drops no data.

When a frame is not there the others are counted down and the exit code is 3.`,
		Example:           "  framedb frame decr camera-001 'ref__camera-001?0?0__7' --by 1",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			mapping, err := s.mapping(ctx, wire.SourceID(args[0]), wire.NodeTag(tag))
			if err != nil {
				return err
			}
			if !s.cmd.Flags().Changed("sizes") {
				if sizes = metadataOf(&mapping).Sizes; len(sizes) == 0 {
					return usagef(s.cmd, "the mapping of %s names no sizes, so that the data would stay behind: give --sizes, "+
						"or name them once by framedb source metadata %[1]s --sizes 1920x1080,608x608", mapping.Source)
				}
			}
			store, done, err := s.openFrames(ctx, mapping)
			if err != nil {
				return err
			}
			defer done()
			return s.decrement(ctx, store, args[1:], by, sizes)
		}),
	}
	cmd.Flags().Int64Var(&by, "by", 1, "how many uses to drop")
	cmd.Flags().StringSliceVar(&sizes, "sizes", nil, "the sizes that go at zero (default: the mapping's)")
	a.addTagFlag(cmd, &tag)
	return cmd
}

func (s *session) decrement(ctx context.Context, store frameStore, keys []string, by int64, sizes []string) error {
	var batch []wire.Decrement
	for _, key := range keys {
		batch = append(batch, wire.Decrement{Key: key, By: by, Sizes: notNil(sizes)})
	}
	results, err := store.decrement(ctx, batch)
	if err != nil {
		return err
	}
	return s.printDecremented(results)
}

func (s *session) printDecremented(results []wire.Decremented) error {
	if err := s.print(notNil(results), func() { s.decrementTable(results) }); err != nil {
		return err
	}
	var missing []string
	for _, r := range results {
		if r.Missing {
			missing = append(missing, r.Key)
		}
	}
	return notThere(missing)
}

// notThere returns nil when nothing is missing.
func notThere(keys []string) error {
	switch len(keys) {
	case 0:
		return nil
	case 1:
		return wire.Errorf(wire.CodeNotFound, "there is no key %s", keys[0])
	}
	return wire.Errorf(wire.CodeNotFound, "%d keys are not there: %s", len(keys), strings.Join(keys, " "))
}

func (s *session) decrementTable(results []wire.Decremented) {
	t := newTable(s.out, "COUNT KEY", "LEFT", "DATA KEYS DELETED")
	for _, r := range results {
		left := fmt.Sprint(r.Remaining)
		if r.Missing {
			left = "missing"
		}
		t.row(r.Key, left, r.Deleted)
	}
	t.flush()
}

func (a *app) frameRemove() *cobra.Command {
	var tag string
	cmd := &cobra.Command{
		Use:   "rm SOURCE KEY...",
		Short: "Drop keys of frames, whatever uses are left",
		Long: `Drop data keys and count keys, whatever uses are left: for frames that nobody
counts down any more. What there is shows framedb frame ls.

This goes to Redis directly, so run it on the node.`,
		Example:           "  framedb frame rm camera-001 'camera-001?0?0__7__608x608' 'ref__camera-001?0?0__7'",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			for _, key := range args[1:] {
				if err := checkKeyOf(s.cmd, key, wire.SourceID(args[0])); err != nil {
					return err
				}
			}
			mapping, err := s.mapping(ctx, wire.SourceID(args[0]), wire.NodeTag(tag))
			if err != nil {
				return err
			}
			store, done, err := s.openFrames(ctx, mapping)
			if err != nil {
				return err
			}
			defer done()
			gone, missing, err := removeKeys(ctx, store, args[1:])
			printed := s.print(notNil(gone), func() {
				for _, key := range gone {
					fmt.Fprintf(s.out, "%s is gone\n", key)
				}
			})
			return errors.Join(err, notThere(missing), printed)
		}),
	}
	a.addTagFlag(cmd, &tag)
	return cmd
}

// checkKeyOf keeps a typing error from dropping what is no frame of the source.
func checkKeyOf(cmd *cobra.Command, key string, source wire.SourceID) error {
	frame, isCount := wire.ParseCountKey(key)
	if !isCount {
		var isData bool
		if frame, _, isData = wire.ParseDataKey(key); !isData {
			return usagef(cmd, "%q is no key of a frame: give P__n__<WxH> or ref__P__n, as framedb frame --help says", key)
		}
	}
	if frame.Source() != source {
		return usagef(cmd, "%s belongs to source %s, not %s", key, frame.Source(), source)
	}
	return nil
}

func removeKeys(ctx context.Context, store frameStore, keys []string) (gone, missing []string, err error) {
	for _, key := range keys {
		found, err := store.remove(ctx, key)
		switch {
		case err != nil:
			return gone, missing, err
		case found:
			gone = append(gone, key)
		default:
			missing = append(missing, key)
		}
	}
	return gone, missing, nil
}
