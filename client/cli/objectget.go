package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

func (a *app) objectGet() *cobra.Command {
	var parallel int
	cmd := &cobra.Command{
		Use:   "get ID/KEY [FILE]",
		Short: "Read an object, or all below a key, into files or stdout",
		Long: `Read an object into a file, or to stdout (-, or no FILE). With a KEY that ends
with a slash all objects below it go into the directory FILE (default: this one).

What is there already with the same bytes is skipped. A file that is not whole
yet is <FILE>.<checksum>.part: when get is interrupted and repeated it goes on
there. Its checksum is verified before it gets its name.`,
		Example: "  framedb object get corpus/crops/7.png crop.png\n  framedb object get corpus/crops/ ./crops\n" +
			"  framedb object get corpus/data.tar - | tar x",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeObjects(1, completeFiles),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			from, err := parseObject(args[0])
			if err != nil {
				return usage(s.cmd, err)
			}
			if err := s.checkParallel(parallel); err != nil {
				return err
			}
			if from.isDirectory() {
				return s.getDirectory(ctx, from, argument(args, 1, "."), parallel)
			}
			return s.getObject(ctx, args[0], argument(args, 1, "-"))
		}),
	}
	addParallelFlag(cmd, &parallel)
	return cmd
}

func (s *session) getObject(ctx context.Context, arg, file string) error {
	from, err := s.oneObject(arg)
	if err != nil {
		return err
	}
	switch {
	case file == "-" && s.cmd.Flags().Changed("output"):
		return usagef(s.cmd, "an object is written as it is: give a FILE, or leave out --output")
	case file == "-" && s.terminal(s.out):
		return usagef(s.cmd, "an object is not written to a terminal: give a FILE")
	}
	if st, err := os.Stat(file); err == nil && st.IsDir() {
		file = filepath.Join(file, from.base())
	}
	at, err := s.openObjects(ctx, from.id)
	if err != nil {
		return err
	}
	if file == "-" {
		return s.getToStdout(ctx, at, objects.Key(from.key))
	}
	info, err := at.Stat(ctx, objects.Key(from.key))
	if err != nil {
		return err
	}
	t := s.newTransfer("reading", "read", 1, info.Size)
	m, err := download(ctx, at, info, file, t)
	t.end(m, err)
	return t.finish(ctx)
}

func (s *session) getToStdout(ctx context.Context, at objectStore, key objects.Key) error {
	r, err := at.Get(ctx, key, objects.GetOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	t := s.newTransfer("reading", "read", 1, r.Info().Size)
	defer t.bar.finish()
	_, err = r.WriteTo(io.MultiWriter(s.out, t))
	return err
}

func (s *session) getDirectory(ctx context.Context, from objectName, dir string, parallel int) error {
	if dir == "-" {
		return usagef(s.cmd, "%s stands for many objects, which do not go to stdout: give a directory", from)
	}
	at, err := s.openObjects(ctx, from.id)
	if err != nil {
		return err
	}
	list, _, err := listObjects(ctx, at.Store, from.key, -1)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return wire.Errorf(wire.CodeNotFound, "there is no object whose key begins with %q", from.key)
	}
	var total int64
	for _, info := range list {
		total += info.Size
	}
	t := s.newTransfer("reading", "read", len(list), total)
	each(ctx, parallel, list, func(ctx context.Context, info objects.Info) {
		m, err := getBelow(ctx, at, info, from.key, dir, t)
		t.end(m, err)
	})
	return t.finish(ctx)
}

// getBelow reads one object of a directory. Its key is checked again: names of
// other programs may be anything.
func getBelow(ctx context.Context, at objectStore, listed objects.Info, prefix, dir string, t *transfer) (moved, error) {
	m := moved{Object: string(at.id) + "/" + string(listed.Key)}
	rel := strings.TrimPrefix(string(listed.Key), prefix)
	if err := listed.Key.Validate(); err != nil {
		return m, err
	}
	if !filepath.IsLocal(filepath.FromSlash(strings.TrimLeft(rel, "/"))) || strings.HasSuffix(rel, "/") {
		return m, notAFile(listed.Key)
	}
	info, err := at.Stat(ctx, listed.Key) // a list may be behind
	if err != nil {
		return m, err
	}
	file := filepath.Join(dir, filepath.FromSlash(rel))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return m, err
	}
	return download(ctx, at, info, file, t)
}

// download makes the file the object. What is there of it is not read again.
func download(ctx context.Context, at objectStore, info objects.Info, file string, t *transfer) (moved, error) {
	m := moved{Object: string(at.id) + "/" + string(info.Key), File: file, Size: info.Size, Sum: &info.Sum}
	if same, err := isObject(file, info); same || err != nil {
		t.count(info.Size)
		m.Skipped = true
		return m, err
	}
	part := partOf(file, info.Sum)
	err := fetch(ctx, at, info, part, t)
	if errors.Is(err, wire.ErrCorrupt) {
		os.Remove(part) // there is no use in going on with it
	}
	if err != nil {
		return m, err
	}
	return m, os.Rename(part, file)
}

// isObject reports whether the file has the object's bytes.
func isObject(file string, info objects.Info) (bool, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() != info.Size {
		return false, err
	}
	sum := objects.NewSummer()
	if _, err := io.Copy(sum, f); err != nil {
		return false, err
	}
	return sum.Sum() == info.Sum, nil
}

// maxName is the longest name of a file, in bytes, on what Linux uses.
const maxName = 255

// partOf names the file that a file grows in. It names the bytes, too, so that
// nothing goes on with those of another object.
func partOf(file string, sum objects.Sum) string {
	end := "." + sum.String() + partEnd
	name := filepath.Base(file)
	return filepath.Join(filepath.Dir(file), name[:min(len(name), maxName-len(end))]+end)
}

// fetch makes the part whole, from where it ends on.
func fetch(ctx context.Context, at objectStore, info objects.Info, part string, t *transfer) error {
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := objects.NewSummer()
	have, err := io.Copy(sum, f)
	if err == nil && have > info.Size {
		have, sum = 0, objects.NewSummer()
		err = errors.Join(f.Truncate(0), seekStart(f))
	}
	if err != nil {
		return err
	}
	t.count(have)
	if have < info.Size {
		opts := objects.GetOptions{Range: &objects.Range{Offset: have, Length: -1}, IfMatch: []objects.Sum{info.Sum}}
		if have == 0 {
			opts.Range = nil
		}
		r, err := at.Get(ctx, info.Key, opts)
		if err != nil {
			return err
		}
		defer r.Close()
		if _, err := r.WriteTo(io.MultiWriter(f, sum, t)); err != nil {
			return err
		}
	}
	if sum.Sum() != info.Sum {
		return wire.Errorf(wire.CodeCorrupt, "%s has another checksum than %q", part, info.Key)
	}
	return f.Close()
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}
