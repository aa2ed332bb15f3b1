package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

func (a *app) objectRemove() *cobra.Command {
	var recursive bool
	var parallel int
	cmd := &cobra.Command{
		Use:               "rm ID/KEY...",
		Aliases:           []string{"remove"},
		Short:             "Delete objects",
		Long:              "Delete objects. With -r a KEY that ends with a slash, or is empty, deletes all objects below it.",
		Example:           "  framedb object rm corpus/crops/7.png\n  framedb object rm -r corpus/crops/",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeObjects(-1, nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if err := s.checkParallel(parallel); err != nil {
				return err
			}
			return s.removeObjects(ctx, args, recursive, parallel)
		}),
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "all objects below a key that ends with a slash")
	addParallelFlag(cmd, &parallel)
	return cmd
}

// victim is an object that is to be deleted.
type victim struct {
	at     objectStore
	key    objects.Key
	listed bool // it need not be there any more
}

func (s *session) removeObjects(ctx context.Context, args []string, recursive bool, parallel int) error {
	var all []victim
	stores := map[wire.FrameDBID]objectStore{}
	for _, arg := range args {
		n, err := parseObject(arg)
		if err == nil && !n.isDirectory() {
			err = objects.Key(n.key).Validate()
		}
		if err == nil && n.isDirectory() && !recursive {
			err = fmt.Errorf("%s stands for all objects below it: give -r to delete them", n)
		}
		if err != nil {
			return usage(s.cmd, err)
		}
		at, open := stores[n.id]
		if !open {
			if at, err = s.openObjects(ctx, n.id); err != nil {
				return err
			}
			stores[n.id] = at
		}
		if !n.isDirectory() {
			all = append(all, victim{at, objects.Key(n.key), false})
			continue
		}
		list, _, err := listObjects(ctx, at.Store, n.key, -1)
		if err != nil {
			return err
		}
		for _, o := range list {
			all = append(all, victim{at, o.Key, true})
		}
	}
	if recursive && len(all) > 0 {
		if err := s.confirm(ctx, fmt.Sprintf("Delete %s?", plural(len(all), "object"))); err != nil {
			return err
		}
	}
	return s.deleteAll(ctx, all, parallel)
}

func (s *session) deleteAll(ctx context.Context, all []victim, parallel int) error {
	t := s.newTransfer("deleting", "deleted", len(all), -1)
	each(ctx, parallel, all, func(ctx context.Context, v victim) {
		err := v.at.Delete(ctx, v.key, objects.Condition{})
		if v.listed && errors.Is(err, wire.ErrNotFound) {
			err = nil
		}
		t.end(moved{Object: string(v.at.id) + "/" + string(v.key)}, err)
	})
	return t.finish(ctx)
}

func (a *app) objectCopy() *cobra.Command {
	var ifAbsent bool
	var parallel int
	cmd := &cobra.Command{
		Use:   "cp FROM-ID/KEY TO-ID/KEY",
		Short: "Copy objects within a FrameDB or to another one",
		Long: `Copy an object, or with a key that ends with a slash all objects below it, within
a FrameDB or to another one, whatever holds them. Metadata and what is left of
the time to live are copied, too. Of a directory, what is there already with the
same bytes is skipped, so an interrupted copy can be repeated.`,
		Example:           "  framedb object cp cameras-redis-node-0/crop corpus/crops/7.png\n  framedb object cp corpus/ archive/2026/",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeObjects(2, nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if err := s.checkParallel(parallel); err != nil {
				return err
			}
			return s.copyObjects(ctx, args[0], args[1], objects.Condition{IfAbsent: ifAbsent}, parallel)
		}),
	}
	cmd.Flags().BoolVar(&ifAbsent, "if-absent", false, "fail when there is such an object")
	addParallelFlag(cmd, &parallel)
	return cmd
}

func (s *session) copyObjects(ctx context.Context, from, to string, cond objects.Condition, parallel int) error {
	src, err := parseObject(from)
	if err != nil {
		return usage(s.cmd, err)
	}
	dst, err := parseObject(to)
	if err != nil {
		return usage(s.cmd, err)
	}
	many := src.isDirectory()
	switch {
	case many && !dst.isDirectory():
		return usagef(s.cmd, "%s stands for many objects: end %s with a slash", src, dst)
	case many && src.id == dst.id && strings.HasPrefix(dst.key, src.key):
		return usagef(s.cmd, "%s is below %s: copy to somewhere else", dst, src)
	case !many && dst.isDirectory():
		dst.key += src.base()
	}
	if !many {
		if err := firstFailure(objects.Key(src.key).Validate(), objects.Key(dst.key).Validate()); err != nil {
			return usage(s.cmd, err)
		}
	}
	in, err := s.openObjects(ctx, src.id)
	if err != nil {
		return err
	}
	out, err := s.openObjects(ctx, dst.id)
	if err != nil {
		return err
	}
	list := []objects.Info{{Key: objects.Key(src.key)}}
	if many {
		if list, _, err = listObjects(ctx, in.Store, src.key, -1); err != nil {
			return err
		}
	}
	t := s.newTransfer("copying", "copied", len(list), -1)
	each(ctx, parallel, list, func(ctx context.Context, o objects.Info) {
		key := objects.Key(dst.key + strings.TrimPrefix(string(o.Key), src.key))
		m := moved{Object: string(dst.id) + "/" + string(key), From: string(src.id) + "/" + string(o.Key)}
		if many {
			there, err := out.Stat(ctx, key)
			if err == nil && !o.Foreign && there.Sum == o.Sum && there.Size == o.Size {
				m.Size, m.Sum, m.Skipped = o.Size, &o.Sum, true
				t.end(m, nil)
				return
			}
		}
		info, err := copyObject(ctx, out, key, in, o.Key, cond)
		if err == nil {
			m.Size, m.Sum = info.Size, &info.Sum
			t.count(info.Size)
		}
		t.end(m, err)
	})
	return t.finish(ctx)
}

func firstFailure(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// completeObjects completes up to n objects, any number when n is negative, and
// hands what follows to next.
func (a *app) completeObjects(n int, next completion) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			if next == nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return next(cmd, args[n:], toComplete)
		}
		found, directive := a.complete(toComplete, func(ctx context.Context, c *client.Client) ([]string, error) {
			return objectNames(ctx, &session{app: a, cmd: cmd, client: c}, toComplete)
		})
		return found, directive | cobra.ShellCompDirectiveNoSpace
	}
}

// objectNames are FrameDB IDs, and behind a slash the keys of one, up to the
// next slash. They come through the agent, which needs no password.
func objectNames(ctx context.Context, s *session, toComplete string) ([]string, error) {
	defer s.close()
	n, err := parseObject(toComplete)
	if !strings.Contains(toComplete, "/") {
		instances, err := s.client.Instances(ctx, client.InstanceQuery{})
		var names []string
		for _, i := range instances {
			names = append(names, string(i.ID)+"/")
		}
		return names, err
	}
	if err != nil {
		return nil, err
	}
	rest, err := s.restObjects(ctx, n.id)
	if err != nil {
		return nil, err
	}
	page, err := objects.New(rest).List(ctx, objects.ListOptions{Prefix: n.key, Limit: completionMax})
	var names []string
	seen := map[string]bool{}
	for _, o := range page.Objects {
		name := string(o.Key)
		if i := strings.IndexByte(name[len(n.key):], '/'); i >= 0 {
			name = name[:len(n.key)+i+1]
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, string(n.id)+"/"+name)
		}
	}
	return names, err
}
