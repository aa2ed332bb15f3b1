package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"mime"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// objectPut are the flags of object put.
type objectPut struct {
	contentType string
	meta        map[string]string
	ttl         time.Duration
	ifAbsent    bool
	parallel    int
}

func (a *app) objectPut() *cobra.Command {
	var o objectPut
	cmd := &cobra.Command{
		Use:   "put ID/KEY [FILE]",
		Short: "Store a file, a directory or stdin",
		Long: `Store a file, stdin (-, or no FILE) or all files below a directory, whose paths
stand behind KEY then. A file goes to a KEY that ends with a slash under its own
name. An object becomes visible when all of it is there, and not before.

Of a directory, what is there already with the same bytes and metadata is
skipped, so an interrupted put can be repeated. The content type is guessed from
the name unless it is given.`,
		Example: "  framedb object put corpus/crops/7.png crop.png\n  framedb object put corpus/crops/ ./crops --ttl 24h\n" +
			"  tar c data | framedb object put corpus/data.tar -",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeObjects(1, completeFiles),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			return s.putObjects(ctx, args[0], argument(args, 1, "-"), o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.contentType, "content-type", "", "such as image/png (default: by the name's ending)")
	f.StringToStringVar(&o.meta, "meta", nil, "metadata, name=value, once or more")
	f.DurationVar(&o.ttl, "ttl", 0, "after how long it goes, such as 24h (default: it stays)")
	f.BoolVar(&o.ifAbsent, "if-absent", false, "fail when there is such an object")
	addParallelFlag(cmd, &o.parallel)
	return cmd
}

// argument is the i-th one, if it is there.
func argument(args []string, i int, otherwise string) string {
	if i < len(args) {
		return args[i]
	}
	return otherwise
}

// source is a file that is to be stored.
type source struct {
	file string // "-" for stdin
	key  objects.Key
	size int64 // -1 when not known
}

func (s *session) putObjects(ctx context.Context, object, file string, o objectPut) error {
	to, err := parseObject(object)
	if err != nil {
		return usage(s.cmd, err)
	}
	if err := s.checkParallel(o.parallel); err != nil {
		return err
	}
	sources, err := s.sources(to, file)
	if err != nil {
		return err
	}
	at, err := s.openObjects(ctx, to.id)
	if err != nil {
		return err
	}
	var total int64
	for _, src := range sources {
		if total += src.size; src.size < 0 {
			total = -1
			break
		}
	}
	t := s.newTransfer("writing", "written", len(sources), total)
	resume := !(len(sources) == 1 && sources[0].file == file)
	each(ctx, o.parallel, sources, func(ctx context.Context, src source) {
		m, err := s.putObject(ctx, at, src, o, resume, t)
		t.end(m, err)
	})
	return t.finish(ctx)
}

// sources are the files that are meant.
func (s *session) sources(to objectName, file string) ([]source, error) {
	if file == "-" {
		one, err := s.oneObject(to.String())
		return []source{{"-", objects.Key(one.key), -1}}, err
	}
	st, err := os.Stat(file)
	if err != nil {
		return nil, usage(s.cmd, err)
	}
	if !st.IsDir() {
		size := st.Size()
		if to.isDirectory() {
			to.key += filepath.Base(file)
		}
		if !st.Mode().IsRegular() {
			size = -1 // a pipe
		}
		one, err := s.oneObject(to.String())
		return []source{{file, objects.Key(one.key), size}}, err
	}
	prefix := to.key
	if !to.isDirectory() {
		prefix += "/"
	}
	return s.filesBelow(file, prefix)
}

func (s *session) filesBelow(dir, prefix string) (all []source, err error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	others := 0
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir(), isPart(d.Name()):
			return nil
		case !d.Type().IsRegular():
			others++
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		all = append(all, source{name, objects.Key(prefix + filepath.ToSlash(rel)), st.Size()})
		return err
	})
	if others > 0 {
		s.note("%s left out: only regular files are stored", plural(others, "entry"))
	}
	return all, err
}

// putObject stores one file. With resume one that is there already is skipped.
func (s *session) putObject(ctx context.Context, at objectStore, src source, o objectPut, resume bool, t *transfer) (moved, error) {
	m := moved{Object: string(at.id) + "/" + string(src.key), File: src.file, Size: src.size}
	opts := objects.PutOptions{ContentType: o.contentType, User: o.meta, TTL: o.ttl, Condition: objects.Condition{IfAbsent: o.ifAbsent}}
	if opts.ContentType == "" {
		opts.ContentType = typeByName(src)
	}
	var in io.Reader = s.cmd.InOrStdin()
	if src.file != "-" {
		f, err := os.Open(src.file)
		if err != nil {
			return m, err
		}
		defer f.Close()
		in = f
		if resume {
			same, err := isStored(ctx, at, src, opts, f)
			if same {
				t.count(src.size)
				m.Skipped = true
			}
			if same || err != nil {
				return m, err
			}
		}
	}
	if src.size >= 0 {
		opts.Size = &src.size
	}
	counted := &counter{r: in, t: t}
	info, err := at.Put(ctx, src.key, counted, opts)
	if err != nil {
		t.count(-counted.n)
		return m, err
	}
	m.Size, m.Sum = info.Size, &info.Sum
	return m, nil
}

func typeByName(src source) string {
	if t := mime.TypeByExtension(path.Ext(string(src.key))); t != "" {
		return t
	}
	return mime.TypeByExtension(filepath.Ext(src.file))
}

// isStored reports whether the object is what would be stored. It reads the
// file only if the size and the metadata are the same, and rewinds it.
func isStored(ctx context.Context, at objectStore, src source, opts objects.PutOptions, f *os.File) (bool, error) {
	info, err := at.Stat(ctx, src.key)
	switch {
	case errors.Is(err, wire.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case info.Size != src.size || info.ContentType != opts.ContentType || opts.TTL > 0 || !info.Expires.IsZero() || !maps.Equal(info.User, opts.User):
		return false, nil
	}
	sum := objects.NewSummer()
	if _, err := io.Copy(sum, f); err != nil {
		return false, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return sum.Sum() == info.Sum, err
}

// counter shows on a bar what is read.
type counter struct {
	r io.Reader
	t *transfer
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.t.count(int64(n))
	return n, err
}

// partEnd ends the name of a file that is not whole yet.
const partEnd = ".part"

// isPart reports whether object get left a file there.
func isPart(name string) bool {
	name, is := strings.CutSuffix(name, partEnd)
	if !is || len(name) < 33 {
		return false
	}
	_, err := objects.ParseSum(name[len(name)-32:])
	return err == nil && name[len(name)-33] == '.'
}
