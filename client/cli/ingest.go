package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/ingest/images"
	"github.com/framedb/framedb/client/wire"
)

// ingestFlags are the flags of ingest.
type ingestFlags struct {
	source string
	ack    string
	format ingestFormat
	size   string
	count  int64
	ttl    time.Duration
	watch  bool
}

// ingestFormat is the value of --format.
type ingestFormat string

const (
	ingestAuto   ingestFormat = "auto"
	ingestImages ingestFormat = "images"
	ingestFrames ingestFormat = "frames"
)

func (f *ingestFormat) String() string { return string(*f) }
func (f *ingestFormat) Type() string   { return "format" }

func (f *ingestFormat) Set(s string) error {
	*f = ingestFormat(s)
	if !slices.Contains([]ingestFormat{ingestAuto, ingestImages, ingestFrames}, *f) {
		return fmt.Errorf("give auto, images or frames")
	}
	return nil
}

func (a *app) ingestCommand() *cobra.Command {
	o := ingestFlags{format: ingestAuto}
	cmd := &cobra.Command{
		Use:   "ingest [FILE|DIRECTORY|-]...",
		Short: "Give frames to the agent, or show what it has in hand",
		Long: `Give frames of a source to the agent, which writes them where the source goes and
keeps them on disk while that is down or slow. Images (JPEG, PNG, PNM, BMP) may
stand one behind the other, as video tools pipe them; with --size a file is one
frame as it is. - is stdin. Of a directory its files are taken, by name.

Without --source it shows the rate, lag and spool of the sources whose frames the
agent takes in: on a terminal, or with --watch, again each second.`,
		Example: "  ffmpeg -i rtsp://camera/1 -f image2pipe -c:v mjpeg - | framedb ingest --source camera-001 -\n" +
			"  framedb ingest --source camera-001 --ack durable shots/",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeFiles,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			switch {
			case o.source != "" && len(args) == 0:
				return usagef(s.cmd, "give files, a directory or - for stdin")
			case o.source != "":
				return s.ingest(ctx, wire.SourceID(o.source), args, o)
			case len(args) > 0:
				return usagef(s.cmd, "give --source: whose frames are these?")
			}
			return s.ingestStatus(ctx, "", o.watch || s.terminal(s.out) && !s.json())
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.source, "source", "", "whose frames they are")
	f.StringVar(&o.ack, "ack", "", "what an acknowledgement means: received, master, replicated:N or durable (default: as the source is configured)")
	f.Var(&o.format, "format", "what comes: images, frames (with their heads, as /v1/ingest takes them), or auto")
	f.StringVar(&o.size, "size", "", "each file is one frame of this size, WxH")
	f.Int64Var(&o.count, "count", 0, "how many uses a frame has (default: as the source is configured)")
	f.DurationVar(&o.ttl, "ttl", 0, "how long a frame lives that nobody counts down (default: as the source is configured)")
	f.BoolVar(&o.watch, "watch", false, "without --source: show it again each second")
	must(cmd.RegisterFlagCompletionFunc("source", a.completeSources(nil)))
	cmd.AddCommand(a.ingestStatusCommand())
	return cmd
}

func (s *session) ingest(ctx context.Context, source wire.SourceID, inputs []string, o ingestFlags) error {
	level, err := ingest.ParseLevel(o.ack)
	if err != nil {
		return usage(s.cmd, wire.InField("--ack", err))
	}
	if o.size != "" && !wire.IsSize(o.size) {
		return usagef(s.cmd, "--size: %q is no size: give <width>x<height>", o.size)
	}
	if s.cmd.Flags().Changed("count") && (o.count < 0 || o.count > ingest.MaxCount) || o.ttl < 0 || o.ttl > ingest.MaxTTL {
		return usagef(s.cmd, "--count must be 0 to %d and --ttl at most %v", int64(ingest.MaxCount), ingest.MaxTTL)
	}
	paths, err := listInputs(inputs)
	if err != nil {
		return err
	}
	m := s.newIngestMeter(ctx, source, level)
	feed := &feeder{flags: o, counted: s.cmd.Flags().Changed("count"), id: string(client.NewRequestID()), stdin: s.cmd.InOrStdin(),
		stream: s.client.IngestStream(ctx, source, client.IngestOptions{Level: level}, m.result)}
	fed := make(chan error, 1)
	go func() { fed <- feed.all(paths) }() // a read of stdin cannot be called off: it ends with the process
	select {
	case err = <-fed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	ended := feed.stream.Close()
	m.finish()
	if ended != nil {
		err = ended
	}
	if err == nil && m.sum.Failed > 0 {
		err = m.first
	}
	if printed := s.print(&m.sum, func() { s.ingestedTable(source, &m.sum) }); err == nil {
		err = printed
	}
	return err
}

// listInputs puts the files of directories in their places.
func listInputs(inputs []string) ([]string, error) {
	var all []string
	for _, name := range inputs {
		info, err := os.Stat(name)
		switch {
		case name == "-" || err == nil && !info.IsDir():
			all = append(all, name)
			continue
		case err != nil:
			return nil, err
		}
		entries, err := os.ReadDir(name) // by name
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
				all = append(all, filepath.Join(name, e.Name()))
			}
		}
	}
	return all, nil
}

// feeder sends what is in files. Each frame has an ID, so that a retry stores it
// once.
type feeder struct {
	flags   ingestFlags
	counted bool
	id      string
	n       int
	stdin   io.Reader
	stream  *client.IngestStream
}

func (f *feeder) all(paths []string) error {
	for _, path := range paths {
		if err := f.file(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (f *feeder) file(path string) error {
	in := f.stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	if f.flags.size != "" {
		picture, err := readPicture(in, "-", f.flags.size)
		if err != nil {
			return err
		}
		return f.send(ingest.Frame{Sizes: []ingest.Size{{Name: picture.size, Data: picture.data}}})
	}
	r := bufio.NewReaderSize(in, 64<<10)
	format := f.flags.format
	if format == ingestAuto {
		format = guess(r)
	}
	if format == ingestFrames {
		return f.frames(r)
	}
	return f.images(r)
}

// guess tells a stream of frames, which begins with a length below 64 KiB, from
// one of images.
func guess(r *bufio.Reader) ingestFormat {
	if start, _ := r.Peek(2); bytes.HasPrefix(start, []byte{0}) {
		return ingestFrames
	}
	return ingestImages
}

func (f *feeder) images(r io.Reader) error {
	scanner := images.NewScanner(r, wire.MaxFrame)
	for {
		img, err := scanner.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f.send(ingest.Frame{Sizes: []ingest.Size{{Name: img.Size(), Data: img.Data}}}); err != nil {
			return err
		}
	}
}

func (f *feeder) frames(r io.Reader) error {
	d := ingest.NewDecoder(r)
	for {
		n, err := d.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		frame, err := d.Frame(make([]byte, n))
		if err != nil {
			return err
		}
		if err := f.send(frame); err != nil {
			return err
		}
	}
}

func (f *feeder) send(frame ingest.Frame) error {
	if frame.Key == (wire.FrameKey{}) && frame.ID == "" {
		f.n++
		frame.ID = wire.RequestID(fmt.Sprintf("%s/%d", f.id, f.n))
	}
	if frame.Count == nil && f.counted {
		frame.Count = &f.flags.count
	}
	if frame.TTL == 0 {
		frame.TTL = f.flags.ttl.Truncate(time.Millisecond)
	}
	return f.stream.Send(frame)
}
