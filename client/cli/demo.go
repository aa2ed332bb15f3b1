package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/demo"
	"github.com/framedb/framedb/client/wire"
)

func (a *app) demoCommand() *cobra.Command {
	o := demo.Defaults()
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Do FrameDB's main job once: write real frames, read, check and count them down",
		Long: `Do FrameDB's main job once. A camera writes JPEG frames by the key protocol, two
readers on the same node read them, compare every byte and count them down. At
the end no frame may be lost, changed or left behind, or the exit code is 1.

A cluster and a mapping are made unless they exist; a mapping that exists is left
as it is, metadata and all. They stay, so that there is something to look at;
--keep=false takes away what was made. Frames never stay.`,
		Example: "  framedb demo\n  framedb demo --input ~/pictures --fps 10",
		Args:    cobra.NoArgs,
		RunE:    a.run(func(ctx context.Context, s *session, _ []string) error { return s.demo(ctx, o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.Input, "input", "", "a directory of your own .jpg files; what is written has 20 bytes more, a comment with its number (default: a moving picture is made)")
	f.IntVar(&o.Frames, "frames", o.Frames, "how many frames are written")
	f.IntVar(&o.FPS, "fps", o.FPS, "how many a second")
	f.IntVar(&o.Replicas, "replicas", o.Replicas, "members of the cluster, if it is made")
	f.StringVar((*string)(&o.Cluster), "cluster", string(o.Cluster), "the cluster")
	f.StringVar((*string)(&o.Source), "source", string(o.Source), "the source")
	f.StringVar((*string)(&o.NodeTag), "node-tag", "", "where the cluster is made (default: first tag of the node that is asked)")
	f.BoolVar(&o.Keep, "keep", o.Keep, "leave the cluster and the mapping")
	must(cmd.MarkFlagDirname("input"))
	must(cmd.RegisterFlagCompletionFunc("cluster", a.completeClusters(-1)))
	must(cmd.RegisterFlagCompletionFunc("node-tag", a.completeTags))
	return cmd
}

func (s *session) demo(ctx context.Context, o demo.Options) error {
	o.Command = s.commandLine()
	bar := s.progress("frames")
	o.Note = func(line string) {
		bar.finish()
		s.note("%s", line)
	}
	o.Progress = func(written, read, total int) {
		bar.set(written, total, fmt.Sprintf("written, %d reads", read))
	}
	o.Logger = slog.New(slog.NewTextHandler(s.cmd.ErrOrStderr(), nil))
	report, err := demo.Run(ctx, s.config(), o)
	bar.finish()
	if report.Frames == 0 && err != nil {
		if errors.Is(err, wire.ErrForbidden) {
			return fmt.Errorf("%w (the demo goes to Redis directly: run it on a node, as root or as the agent's user)", err)
		}
		return err
	}
	printed := s.print(report, func() {
		fmt.Fprintln(s.out)
		report.Print(s.out)
	})
	return errors.Join(err, report.Err(), printed)
}
