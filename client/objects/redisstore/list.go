package redisstore

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// A listing scans all keys of the database twice: strings, which are objects
// up to PartSize or foreign, and then metadata of larger objects. The cursor
// is the pass and SCAN's own.
const (
	passStrings = "s"
	passLarge   = "m"
)

// scanRounds bounds the calls of SCAN for one page; with scanCount as the
// least COUNT a page looks at no fewer than 5,000 keys.
const (
	scanRounds = 50
	scanCount  = 100
)

// List scans: the pages are not sorted among each other, an object may be on
// two of them when Redis resizes its table meanwhile, and a page may hold some
// more than Limit.
func (b *Backend) List(ctx context.Context, opts objects.ListOptions) (objects.Page, error) {
	pass, cursor, err := parseCursor(opts.Cursor)
	if err != nil {
		return objects.Page{}, err
	}
	var page objects.Page
	for range scanRounds {
		infos, next, err := b.scan(ctx, pass, cursor, opts)
		if err != nil {
			return objects.Page{}, err
		}
		page.Objects = append(page.Objects, infos...)
		if cursor = next; cursor == 0 && pass == passLarge {
			return sorted(page), nil
		}
		if cursor == 0 {
			pass = passLarge
		}
		if len(page.Objects) >= opts.Limit {
			break
		}
	}
	page.Next = pass + strconv.FormatUint(cursor, 10)
	return sorted(page), nil
}

func sorted(page objects.Page) objects.Page {
	slices.SortFunc(page.Objects, func(a, b objects.Info) int { return strings.Compare(string(a.Key), string(b.Key)) })
	page.Objects = slices.CompactFunc(page.Objects, func(a, b objects.Info) bool { return a.Key == b.Key })
	return page
}

func parseCursor(s string) (pass string, cursor uint64, err error) {
	if s == "" {
		return passStrings, 0, nil
	}
	pass = s[:1]
	cursor, perr := strconv.ParseUint(s[1:], 10, 64)
	if perr != nil || pass != passStrings && pass != passLarge {
		return "", 0, wire.InField("cursor", wire.Errorf(wire.CodeInvalidArgument, "%q is none that a page gave", s))
	}
	return pass, cursor, nil
}

// globs takes the special characters of Redis' patterns for themselves.
var globs = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

func (b *Backend) scan(ctx context.Context, pass string, cursor uint64, opts objects.ListOptions) (infos []objects.Info, next uint64, err error) {
	match, kind := globs.Replace(opts.Prefix)+"*", "string"
	if pass == passLarge {
		match, kind = metaPrefix+match, "hash"
	}
	count := int64(max(scanCount, opts.Limit))
	err = b.read(ctx, func(ctx context.Context, rdb *redis.Client) error {
		names, n, err := rdb.ScanType(ctx, cursor, match, count, kind).Result()
		if err != nil {
			return err
		}
		next = n
		infos, err = describe(ctx, rdb, pass, names)
		return err
	})
	return infos, next, err
}

// describe asks for the metadata of what was scanned, and believes it as far
// as sizes agree.
func describe(ctx context.Context, rdb *redis.Client, pass string, names []string) ([]objects.Info, error) {
	names = slices.DeleteFunc(names, func(n string) bool { return pass == passStrings && strings.HasPrefix(n, reserved) })
	if len(names) == 0 {
		return nil, nil
	}
	hashes := make([]*redis.SliceCmd, len(names))
	sizes := make([]*redis.IntCmd, len(names))
	alive := make([]*redis.IntCmd, len(names))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			names[i] = strings.TrimPrefix(name, metaPrefix)
			hashes[i] = p.HMGet(ctx, metaPrefix+names[i], metaFields...)
			alive[i] = p.Exists(ctx, names[i])
			if pass == passStrings {
				sizes[i] = p.StrLen(ctx, names[i])
			}
		}
		return nil
	})
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, err
	}
	var infos []objects.Info
	for i, name := range names {
		key := objects.Key(name)
		m, err := parseMeta(key, hashes[i].Val())
		if err != nil {
			m = nil // reading it will say so
		}
		there := alive[i].Val() > 0
		switch {
		case pass == passLarge && m != nil && m.parts > 0 && !there:
			infos = append(infos, m.info)
		case pass == passLarge, !there, sizes[i].Err() != nil:
		case m != nil && m.parts == 0 && m.info.Size == sizes[i].Val():
			infos = append(infos, m.info)
		default:
			infos = append(infos, objects.Info{Key: key, Size: sizes[i].Val(), Foreign: true})
		}
	}
	return infos, nil
}

// Sweep drops metadata whose value another program overwrote or deleted; it
// goes on where the call before ended. Abandoned uploads and replaced parts
// expire by themselves, as do objects: the ages are those of Config.
func (b *Backend) Sweep(ctx context.Context, _ objects.SweepAges) (objects.Swept, error) {
	var s objects.Swept
	b.mu.Lock()
	cursor := b.sweepFrom
	b.mu.Unlock()
	for range scanRounds {
		next, err := b.sweepRound(ctx, cursor, &s)
		if err != nil {
			return s, err
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	b.mu.Lock()
	b.sweepFrom = cursor
	b.mu.Unlock()
	return s, nil
}

func (b *Backend) sweepRound(ctx context.Context, cursor uint64, s *objects.Swept) (next uint64, err error) {
	err = b.read(ctx, func(ctx context.Context, rdb *redis.Client) error {
		names, n, err := rdb.ScanType(ctx, cursor, metaPrefix+"*", 10*scanCount, "hash").Result()
		if err != nil {
			return err
		}
		next = n
		for _, name := range names {
			key := strings.TrimPrefix(name, metaPrefix)
			gone, err := tidyScript.Run(ctx, rdb, []string{key, name}, b.cfg.ReadGrace.Milliseconds()).Int()
			if err != nil {
				return err
			}
			s.Stale += gone
		}
		return nil
	})
	return next, err
}
