package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) ingestionCommand() *cobra.Command {
	return group("ingestion", "Say how frames of a source are taken in",
		a.ingestionSet(), a.ingestionShow(), a.ingestionList(), a.ingestionDelete())
}

// ingestionFlags are the flags of ingestion set.
type ingestionFlags struct {
	spec                wire.IngestionSpec
	batchBytes, keep    byteSize
	linger, ttl, keepTo time.Duration
	queue               wire.IngestQueue
	directory           wire.IngestDirectory
}

func (a *app) ingestionSet() *cobra.Command {
	var o ingestionFlags
	cmd := &cobra.Command{
		Use:   "set SOURCE",
		Short: "Say how frames of a source are taken in",
		Long: `Say how frames of a source are taken in, in place of all that was said before:
what is not given is the default, which is right for most sources.`,
		Example: "  framedb ingestion set camera-001 --target archive --ack durable\n" +
			"  framedb ingestion set camera-001 --ttl 1m --keep-frames 1000\n" +
			"  framedb ingestion set camera-001 --directory-node node1 --directory /in/camera-001",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			spec, err := o.asked(s.cmd)
			if err != nil {
				return err
			}
			in, err := s.client.PutIngestion(ctx, wire.SourceID(args[0]), spec)
			if err != nil {
				return err
			}
			return s.print(in, func() { s.ingestionTable([]wire.Ingestion{in}) })
		}),
	}
	f := cmd.Flags()
	f.StringVar((*string)(&o.spec.Target), "target", "", "the persistent FrameDB that takes the frames (default: where the source is mapped to)")
	f.StringSliceVar(&o.spec.Sizes, "sizes", nil, "the sizes that are kept, such as 1920x1080,608x608 (default: those of the mapping's metadata)")
	f.IntVar(&o.spec.RefCount, "ref-count", 0, "how many uses a frame has (default: that of the mapping's metadata)")
	f.StringVar((*string)(&o.spec.Ack), "ack", "", "what an acknowledgement means: received, master, replicated:N or durable (default master)")
	f.IntVar(&o.spec.BatchFrames, "batch-frames", 0, "write a batch when it has so many frames")
	f.Var(&o.batchBytes, "batch-bytes", "write a batch when it has so many bytes")
	f.DurationVar(&o.linger, "linger", 0, "write a batch when it has waited for so long")
	f.DurationVar(&o.ttl, "ttl", 0, "how long a frame lives that nobody counts down (default: for ever)")
	f.DurationVar(&o.keepTo, "keep-age", 0, "drop frames that are older, whatever their counts")
	f.Var(&o.keep, "keep-bytes", "drop the oldest frames beyond so many bytes")
	f.Int64Var(&o.spec.Retention.Frames, "keep-frames", 0, "drop the oldest frames beyond so many")
	f.StringVar((*string)(&o.queue.Cluster), "queue-cluster", "", "take frames from a queue in this cluster")
	f.StringVar(&o.queue.Key, "queue-key", "", "the key of the queue")
	f.StringVar((*string)(&o.queue.Kind), "queue-kind", string(wire.QueueList), "list or stream")
	f.StringVar(&o.queue.Group, "queue-group", "", "the consumer group of a stream (default framedb)")
	f.StringVar(&o.directory.Path, "directory", "", "take frames from the files of this directory")
	f.StringVar((*string)(&o.directory.Node), "directory-node", "", "the node on which the directory is")
	f.StringVar(&o.directory.Pattern, "directory-pattern", "", "only files with such a name (default *)")
	f.StringVar(&o.directory.Done, "directory-done", "", "where files go then (default: they are deleted)")
	must(cmd.RegisterFlagCompletionFunc("target", a.completeStorage(-1)))
	must(cmd.RegisterFlagCompletionFunc("queue-cluster", a.completeClusters(-1)))
	return cmd
}

// asked is the spec that the flags say.
func (o *ingestionFlags) asked(cmd *cobra.Command) (wire.IngestionSpec, error) {
	spec := o.spec
	spec.BatchBytes, spec.Retention.Bytes = int64(o.batchBytes), int64(o.keep)
	spec.Linger, spec.TTL, spec.Retention.Age = o.linger.Milliseconds(), o.ttl.Milliseconds(), o.keepTo.Milliseconds()
	given := cmd.Flags().Changed
	if given("queue-cluster") || given("queue-key") || given("queue-group") {
		if o.queue.Cluster == "" || o.queue.Key == "" {
			return spec, usagef(cmd, "give --queue-cluster and --queue-key, or none of them")
		}
		spec.Queue = &o.queue
	}
	if given("directory") || given("directory-node") || given("directory-pattern") || given("directory-done") {
		if o.directory.Node == "" || o.directory.Path == "" {
			return spec, usagef(cmd, "give --directory and --directory-node, or none of them")
		}
		spec.Directory = &o.directory
	}
	return spec, checkSizes(cmd, "sizes", spec.Sizes)
}

func (a *app) ingestionShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show SOURCE",
		Short:             "Show how frames of a source are taken in",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeIngestions,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			in, err := s.client.Ingestion(ctx, wire.SourceID(args[0]))
			if err != nil {
				return err
			}
			return s.print(in, func() { s.ingestionTable([]wire.Ingestion{in}) })
		}),
	}
}

func (a *app) ingestionList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the sources of which it was said how they are taken in",
		Args:    cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			all, err := s.client.Ingestions(ctx)
			if err != nil {
				return err
			}
			return s.print(notNil(all), func() { s.ingestionTable(all) })
		}),
	}
}

func (a *app) ingestionDelete() *cobra.Command {
	return &cobra.Command{
		Use:               "delete SOURCE",
		Aliases:           []string{"rm", "remove"},
		Short:             "Have a source be taken in by the defaults again",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeIngestions,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			in, err := s.client.DeleteIngestion(ctx, wire.SourceID(args[0]))
			if err != nil {
				return err
			}
			return s.print(in, func() { fmt.Fprintf(s.out, "%s is taken in by the defaults\n", in.Source) })
		}),
	}
}

func (s *session) ingestionTable(all []wire.Ingestion) {
	t := newTable(s.out, "SOURCE", "TARGET", "SIZES", "ACK", "REF COUNT", "TTL", "KEEP", "BATCH", "FROM")
	for i := range all {
		in := &all[i]
		t.row(in.Source, in.Target, join(in.Sizes), in.Ack, orNone(in.RefCount), orNone(millis(in.TTL)), keepCell(&in.Retention), batchCell(&in.IngestionSpec), fromCell(&in.IngestionSpec))
	}
	t.flush()
}

// orNone leaves a zero, which is the default, out.
func orNone[T comparable](v T) any {
	var zero T
	if v == zero {
		return ""
	}
	return v
}

func keepCell(r *wire.Retention) string {
	var parts []string
	if r.Age > 0 {
		parts = append(parts, millis(r.Age).String())
	}
	if r.Bytes > 0 {
		parts = append(parts, formatBytes(r.Bytes))
	}
	if r.Frames > 0 {
		parts = append(parts, plural(int(r.Frames), "frame"))
	}
	return strings.Join(parts, ", ")
}

func batchCell(spec *wire.IngestionSpec) string {
	var parts []string
	if spec.BatchFrames > 0 {
		parts = append(parts, plural(spec.BatchFrames, "frame"))
	}
	if spec.BatchBytes > 0 {
		parts = append(parts, formatBytes(spec.BatchBytes))
	}
	if spec.Linger > 0 {
		parts = append(parts, millis(spec.Linger).String())
	}
	return strings.Join(parts, ", ")
}

// fromCell says what the agents take frames from by themselves.
func fromCell(spec *wire.IngestionSpec) string {
	var parts []string
	if q := spec.Queue; q != nil {
		parts = append(parts, fmt.Sprintf("%s %s in %s", q.Kind, q.Key, q.Cluster))
	}
	if d := spec.Directory; d != nil {
		parts = append(parts, fmt.Sprintf("%s on %s", d.Path, d.Node))
	}
	return strings.Join(parts, ", ")
}
