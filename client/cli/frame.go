package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) frameCommand() *cobra.Command {
	cmd := group("frame", "Write, read and count down frames",
		a.framePut(), a.frameGet(), a.frameDecr(), a.frameRetain(), a.frameList(), a.frameRemove())
	cmd.Long = `Write, read and count down frames by the key protocol. With P standing for
SOURCE?<update counter>?<restart counter> and frame number n:

  P__n__<WxH>   the data of one size
  ref__P__n     the count of uses that are left

On a node this goes to Redis directly; from elsewhere the agent stands between.`
	return cmd
}

// writerMetadata is what a writer reads from a mapping's metadata.
type writerMetadata struct {
	Sizes    []string `json:"sizes"`
	RefCount int64    `json:"ref_count"`
}

// metadataOf leaves out what is not there or of another type.
func metadataOf(m *wire.Mapping) writerMetadata {
	var w writerMetadata
	_ = json.Unmarshal(m.Metadata, &w)
	return w
}

func (a *app) frameGet() *cobra.Command {
	var tag, file string
	cmd := &cobra.Command{
		Use:               "get SOURCE KEY",
		Short:             "Read one data key",
		Example:           "  framedb frame get camera-001 'camera-001?0?0__7__608x608' --out shot.jpg",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			switch {
			case s.cmd.Flags().Changed("output"):
				return usagef(s.cmd, "a frame is written as it is: give --out FILE in place of --output")
			case file == "-" && s.terminal(s.out):
				return usagef(s.cmd, "a frame is not written to a terminal: give --out FILE")
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
			data, err := store.get(ctx, args[1])
			if err != nil {
				return err
			}
			if file == "-" {
				_, err = s.out.Write(data)
				return err
			}
			return os.WriteFile(file, data, 0o644)
		}),
	}
	cmd.Flags().StringVar(&file, "out", "-", "the file to write, - for stdout")
	a.addTagFlag(cmd, &tag)
	return cmd
}

func (a *app) frameList() *cobra.Command {
	var tag string
	var limit int
	cmd := &cobra.Command{
		Use:               "ls SOURCE",
		Aliases:           []string{"list"},
		Short:             "List a source's frames, their counts and sizes",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			mapping, err := s.mapping(ctx, wire.SourceID(args[0]), wire.NodeTag(tag))
			if err != nil {
				return err
			}
			store, done, err := s.openFrames(ctx, mapping)
			if err != nil {
				return err
			}
			defer done()
			frames, more, err := listFrames(ctx, store, limit)
			if err != nil {
				return err
			}
			if more {
				s.note("there are more: raise --limit")
			}
			return s.print(notNil(frames), func() { s.frameTable(frames) })
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most about this many")
	a.addTagFlag(cmd, &tag)
	return cmd
}

// listFrames pages until there are limit frames. Redis' cursor may bring a
// frame twice and in any order.
func listFrames(ctx context.Context, store frameStore, limit int) (all []wire.FrameInfo, more bool, err error) {
	for cursor := ""; ; {
		page, next, err := store.list(ctx, cursor, min(max(limit, 1), wire.MaxPage))
		if err != nil {
			return nil, false, err
		}
		all = append(all, page...)
		if cursor = next; cursor == "" || len(all) >= limit {
			more = cursor != ""
			break
		}
	}
	slices.SortFunc(all, func(a, b wire.FrameInfo) int {
		return strings.Compare(sortKey(a.Frame), sortKey(b.Frame))
	})
	all = slices.CompactFunc(all, func(a, b wire.FrameInfo) bool { return a.Frame == b.Frame })
	return all, more, nil
}

// sortKey orders frames by prefix, then by number.
func sortKey(frame string) string {
	if k, ok := wire.ParseFrame(frame); ok {
		return fmt.Sprintf("%s %020d", k.Prefix, k.Number)
	}
	return frame
}

func (s *session) frameTable(frames []wire.FrameInfo) {
	t := newTable(s.out, "FRAME", "COUNT", "SIZES")
	for _, f := range frames {
		var sizes []string
		for size, n := range f.Sizes {
			sizes = append(sizes, fmt.Sprintf("%s (%s)", size, formatBytes(n)))
		}
		slices.Sort(sizes)
		count := fmt.Sprint(f.Count)
		if f.Count < 0 {
			count = "missing"
		}
		t.row(f.Frame, count, strings.Join(sizes, ", "))
	}
	t.flush()
}
