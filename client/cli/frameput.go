package cli

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/gif" // the size of a file is read from its header
	_ "image/jpeg"
	_ "image/png"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// putOptions are the flags of frame put.
type putOptions struct {
	tag      string
	sizes    []string
	count    int64
	frame    uint64
	together bool
}

func (a *app) framePut() *cobra.Command {
	var o putOptions
	cmd := &cobra.Command{
		Use:   "put SOURCE FILE...",
		Short: "Write files as frames",
		Long: `Write files as frames of consecutive numbers, or with --together as the sizes of
one frame. The size of a JPEG, PNG or GIF is read from the file.

Without --frame the first number is the time in milliseconds, so that one put
does not overwrite another. Without --count it is the mapping's ref_count.`,
		Example:           "  framedb frame put camera-001 shot.jpg --count 2\n  framedb frame put camera-001 big.bin small.bin --together --size 1920x1080,608x608",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeSources(completeFiles),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			return s.putFrames(ctx, wire.SourceID(args[0]), args[1:], o)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.sizes, "size", nil, "WxH, one for all files or one for each")
	f.Int64Var(&o.count, "count", 0, "how many uses the frame has (default: the mapping's ref_count, else 1)")
	f.Uint64Var(&o.frame, "frame", 0, "number of the first frame (default: the time in milliseconds)")
	f.BoolVar(&o.together, "together", false, "the files are the sizes of one frame")
	a.addTagFlag(cmd, &o.tag)
	return cmd
}

// written is what frame put prints of one frame.
type written struct {
	Frame    string   `json:"frame"` // P__n
	CountKey string   `json:"count_key"`
	Count    int64    `json:"count"`
	Keys     []string `json:"keys"`
	Bytes    int      `json:"bytes"`
}

func (s *session) putFrames(ctx context.Context, source wire.SourceID, files []string, o putOptions) error {
	if n := len(o.sizes); n > 1 && n != len(files) {
		return usagef(s.cmd, "%d sizes for %d files: give one for all or one for each", n, len(files))
	}
	if err := checkSizes(s.cmd, "size", o.sizes); err != nil {
		return err
	}
	mapping, err := s.mapping(ctx, source, wire.NodeTag(o.tag))
	if err != nil {
		return err
	}
	switch {
	case s.cmd.Flags().Changed("count") && o.count < 1:
		return usagef(s.cmd, "--count must be at least 1")
	case o.count == 0:
		o.count = max(metadataOf(&mapping).RefCount, 1)
	}
	if !s.cmd.Flags().Changed("frame") {
		o.frame = uint64(time.Now().UnixMilli())
	}
	store, done, err := s.openFrames(ctx, mapping)
	if err != nil {
		return err
	}
	defer done()
	all, err := s.writeFiles(ctx, store, source, files, o)
	s.noteOtherSizes(all, metadataOf(&mapping).Sizes)
	if len(all) == 0 && err != nil {
		return err
	}
	printed := s.print(notNil(all), func() { s.writtenTable(all) })
	if err != nil {
		return err
	}
	return printed
}

// noteOtherSizes tells of sizes that a countdown does not name by itself.
func (s *session) noteOtherSizes(all []written, sizes []string) {
	noted := map[string]bool{}
	for _, w := range all {
		for _, key := range w.Keys {
			_, size, _ := wire.ParseDataKey(key)
			if !slices.Contains(sizes, size) && !noted[size] {
				noted[size] = true
				s.note("%s is none of the mapping's sizes: name it by --sizes when you count down", size)
			}
		}
	}
}

// writeFiles returns what was written, also when it could not go on.
func (s *session) writeFiles(ctx context.Context, store frameStore, source wire.SourceID, files []string, o putOptions) ([]written, error) {
	bar := s.progress("writing")
	defer bar.finish()
	step := 1
	if o.together {
		step = len(files)
	}
	var all []written
	for i := 0; i < len(files); i += step {
		frame := wire.NewFrameKey(source, 0, 0, o.frame+uint64(i/step))
		var images []picture
		for j := i; j < i+step; j++ {
			p, err := readPicture(s.cmd.InOrStdin(), files[j], sizeAt(o.sizes, j))
			if err != nil {
				return all, err
			}
			images = append(images, p)
		}
		if err := store.put(ctx, frame, images, o.count); err != nil {
			return all, fmt.Errorf("%s: %w", strings.Join(files[i:i+step], ", "), err)
		}
		w := written{Frame: frame.String(), CountKey: frame.Count(), Count: o.count}
		for _, p := range images {
			w.Keys = append(w.Keys, frame.Data(p.size))
			w.Bytes += len(p.data)
		}
		all = append(all, w)
		bar.set(i+step, len(files), files[i])
	}
	return all, nil
}

func sizeAt(sizes []string, i int) string {
	switch len(sizes) {
	case 0:
		return ""
	case 1:
		return sizes[0]
	}
	return sizes[i]
}

// readPicture reads a file, "-" being stdin. An empty size is taken from the
// picture's header.
func readPicture(stdin io.Reader, name, size string) (picture, error) {
	var in = stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return picture{}, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, wire.MaxFrame+1))
	if err != nil {
		return picture{}, err
	}
	if len(data) == 0 {
		return picture{}, wire.Errorf(wire.CodeInvalidArgument, "%s is empty: a frame has at least a byte", name)
	}
	if len(data) > wire.MaxFrame {
		return picture{}, wire.Errorf(wire.CodeTooLarge, "%s is larger than %s", name, formatBytes(wire.MaxFrame))
	}
	if size == "" {
		header, _, err := image.DecodeConfig(bytes.NewReader(data))
		if err != nil {
			return picture{}, wire.InField("size", wire.Errorf(wire.CodeMissingField, "%s is no JPEG, PNG or GIF: give --size WxH", name))
		}
		size = fmt.Sprintf("%dx%d", header.Width, header.Height)
	}
	return picture{size, data}, nil
}

func (s *session) writtenTable(all []written) {
	t := newTable(s.out, "COUNT KEY", "COUNT", "BYTES", "KEYS")
	for _, w := range all {
		t.row(w.CountKey, w.Count, w.Bytes, strings.Join(w.Keys, " "))
	}
	t.flush()
}
