package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

func (a *app) objectCommand() *cobra.Command {
	cmd := group("object", "Put, get, list, copy and delete objects in any FrameDB",
		a.objectPut(), a.objectGet(), a.objectStat(), a.objectList(), a.objectRemove(), a.objectCopy())
	cmd.Long = `Put, get, list, copy and delete objects in any FrameDB, in memory or persistent.

An object is named <framedb-id>/<key>. The ID is that of a persistent FrameDB, of
any member of a cluster, or the name of a cluster. The key is taken as it is;
slashes in it are free. A key that ends with a slash, or is empty, stands for all
objects whose keys begin so, as a directory.

On a node this goes to Redis or the database directly; from elsewhere the agent
stands between.`
	return cmd
}

// objectName is <framedb-id>/<key>.
type objectName struct {
	id  wire.FrameDBID
	key string
}

func parseObject(arg string) (objectName, error) {
	id, key, _ := strings.Cut(arg, "/")
	n := objectName{wire.FrameDBID(id), key}
	if err := n.id.Validate(); err != nil {
		return n, fmt.Errorf("%q is not <framedb-id>/<key>: %w", arg, err)
	}
	return n, nil
}

func (n objectName) String() string { return string(n.id) + "/" + n.key }

// isDirectory reports whether all objects below are meant.
func (n objectName) isDirectory() bool { return n.key == "" || strings.HasSuffix(n.key, "/") }

// base is what stands behind the last slash.
func (n objectName) base() string { return n.key[strings.LastIndexByte(n.key, '/')+1:] }

// oneObject is a whole name, of one object.
func (s *session) oneObject(arg string) (objectName, error) {
	n, err := parseObject(arg)
	if err == nil {
		err = objects.Key(n.key).Validate()
	}
	return n, usage(s.cmd, err)
}

func (a *app) objectStat() *cobra.Command {
	return &cobra.Command{
		Use:               "stat ID/KEY",
		Short:             "Show what is known of an object",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeObjects(1, nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			n, err := s.oneObject(args[0])
			if err != nil {
				return err
			}
			at, err := s.openObjects(ctx, n.id)
			if err != nil {
				return err
			}
			info, err := at.Stat(ctx, objects.Key(n.key))
			if err != nil {
				return err
			}
			return s.print(info, func() { s.objectDetails(info) })
		}),
	}
}

func (s *session) objectDetails(info objects.Info) {
	t := newTable(s.out)
	t.row("key", info.Key)
	t.row("size", fmt.Sprintf("%s (%d bytes)", formatBytes(info.Size), info.Size))
	t.row("checksum", info.Sum)
	t.row("content type", info.ContentType)
	for _, name := range sortedNames(info.User) {
		t.row("meta "+name, info.User[name])
	}
	t.row("created", when(info.Created))
	t.row("modified", when(info.Modified))
	t.row("expires", when(info.Expires))
	if info.Foreign {
		t.row("note", "another program wrote it; the checksum was computed just now")
	}
	t.flush()
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// when is empty for no time.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (a *app) objectList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:               "ls ID[/PREFIX]",
		Aliases:           []string{"list"},
		Short:             "List objects whose keys begin with a prefix",
		Example:           "  framedb object ls corpus/crops/\n  framedb object ls corpus -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeObjects(1, nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			n, err := parseObject(args[0])
			if err != nil {
				return usage(s.cmd, err)
			}
			at, err := s.openObjects(ctx, n.id)
			if err != nil {
				return err
			}
			list, more, err := listObjects(ctx, at.Store, n.key, max(limit, 1))
			if err != nil {
				return err
			}
			if more {
				s.note("there are more: raise --limit")
			}
			return s.print(notNil(list), func() { s.objectTable(list) })
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most this many")
	return cmd
}

func (s *session) objectTable(list []objects.Info) {
	t := newTable(s.out, "KEY", "SIZE", "MODIFIED", "EXPIRES", "TYPE")
	for _, o := range list {
		t.row(o.Key, formatBytes(o.Size), when(o.Modified), when(o.Expires), o.ContentType)
	}
	t.flush()
}

// listObjects gives objects by key, each once; a negative limit means all. A
// FrameDB in memory lists in no order, and some twice.
func listObjects(ctx context.Context, store *objects.Store, prefix string, limit int) (list []objects.Info, more bool, err error) {
	opts := objects.ListOptions{Prefix: prefix}
	for {
		if limit >= 0 {
			opts.Limit = min(max(limit-len(list), 1), objects.MaxPage)
		}
		page, err := store.List(ctx, opts)
		if err != nil {
			return nil, false, err
		}
		list = append(list, page.Objects...)
		opts.Cursor = page.Next
		if opts.Cursor == "" || limit >= 0 && len(list) >= limit {
			break
		}
	}
	slices.SortFunc(list, func(a, b objects.Info) int { return strings.Compare(string(a.Key), string(b.Key)) })
	list = slices.CompactFunc(list, func(a, b objects.Info) bool { return a.Key == b.Key })
	return list, opts.Cursor != "", nil
}
