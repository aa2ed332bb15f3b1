package frames

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// scanCount is how many keys Redis looks at for each SCAN: about 200 µs of its
// time.
const scanCount = "1000"

// defaultList is the limit of a List that asks for none.
const defaultList = 1000

// List returns frames of a source in the order of their keys, at most limit
// (0 means 1,000; at most wire.MaxPage), and the cursor to go on with, empty at
// the end. A frame that was there all the time is listed exactly once. It is
// for people and repairs: each call looks at every key of the cluster, a
// million of which take the master about a second, in small steps.
//
// Errors: ErrInvalidArgument (source, cursor or limit), ErrUnavailable, ctx's.
func (c *Cluster) List(ctx context.Context, source wire.SourceID, cursor string, limit int) ([]wire.FrameInfo, string, error) {
	after, err := checkList(source, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	if limit == 0 {
		limit = defaultList
	}
	var found *page
	err = c.do(ctx, true, func(cn *conn) error {
		found = &page{after: after, limit: limit, sizes: map[wire.FrameKey][]string{}}
		return found.scan(ctx, cn, source)
	})
	if err != nil {
		return nil, "", err
	}
	keys := found.keys()
	var infos []wire.FrameInfo
	err = c.do(ctx, true, func(cn *conn) (err error) {
		infos, err = found.describe(ctx, cn, keys)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	next := ""
	if found.more {
		next = encodeCursor(keys[len(keys)-1])
	}
	return infos, next, nil
}

func checkList(source wire.SourceID, cursor string, limit int) (after *wire.FrameKey, err error) {
	if err := source.Validate(); err != nil {
		return nil, wire.InField("source", err)
	}
	if limit < 0 || limit > wire.MaxPage {
		return nil, wire.InField("limit", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", limit, wire.MaxPage))
	}
	if cursor == "" {
		return nil, nil
	}
	if after, err = decodeCursor(cursor); err != nil || after.Source() != source {
		return nil, wire.InField("cursor", wire.Errorf(wire.CodeInvalidArgument, "it is not one that a list of source %q gave", source))
	}
	return after, nil
}

// The cursor is the count key of the last frame that was listed, in base64.
func encodeCursor(k wire.FrameKey) string {
	return base64.RawURLEncoding.EncodeToString([]byte(k.Count()))
}

func decodeCursor(s string) (*wire.FrameKey, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	k, ok := wire.ParseCountKey(string(b))
	if !ok {
		return nil, wire.ErrInvalidArgument
	}
	return &k, nil
}

func compareKeys(a, b wire.FrameKey) int {
	return cmp.Or(strings.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Number, b.Number))
}

// page collects the first frames after a key, with the sizes seen of them.
type page struct {
	after *wire.FrameKey
	limit int
	sizes map[wire.FrameKey][]string
	more  bool // frames were left out
}

func (p *page) scan(ctx context.Context, cn *conn, source wire.SourceID) error {
	pattern := "*" + escapeGlob(string(source)) + "\\?*"
	for at := "0"; ; {
		end := cn.Within(ctx, stall)
		reply, err := cn.Do("SCAN", at, "MATCH", pattern, "COUNT", scanCount)
		if !end() {
			cn.spoiled = true
			if err == nil {
				err = ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		parts, _ := reply.([]any)
		if len(parts) != 2 {
			return resp.ErrProtocol
		}
		keys, _ := parts[1].([]any)
		for _, key := range keys {
			if key, ok := key.(string); ok {
				p.see(source, key)
			}
		}
		if at, _ = parts[0].(string); at == "0" || at == "" {
			p.trim(p.limit)
			return nil
		}
	}
}

// see takes a key into the page if it belongs there.
func (p *page) see(source wire.SourceID, key string) {
	k, size, ok := wire.ParseDataKey(key)
	if c, isCount := wire.ParseCountKey(key); isCount {
		k, size, ok = c, "", true
	}
	if !ok || k.Source() != source || p.after != nil && compareKeys(k, *p.after) <= 0 {
		return
	}
	sizes := p.sizes[k]
	if size != "" && !slices.Contains(sizes, size) {
		sizes = append(sizes, size)
	}
	p.sizes[k] = sizes
	// Sorting now and then keeps the memory bounded. What is trimmed off lies
	// behind limit frames that are there, so it cannot belong to the page.
	if len(p.sizes) > 4*p.limit+1000 {
		p.trim(p.limit)
	}
}

func (p *page) trim(limit int) {
	keys := p.keys()
	if len(keys) <= limit {
		return
	}
	p.more = true
	for _, k := range keys[limit:] {
		delete(p.sizes, k)
	}
}

func (p *page) keys() []wire.FrameKey {
	return slices.SortedFunc(maps.Keys(p.sizes), compareKeys)
}

// describe asks for the counts and the lengths. Frames that have gone in the
// meantime are left out.
func (p *page) describe(ctx context.Context, cn *conn, keys []wire.FrameKey) ([]wire.FrameInfo, error) {
	infos := []wire.FrameInfo{}
	for part := range slices.Chunk(keys, 256) {
		end := cn.Within(ctx, stall)
		some, err := p.describePart(cn, part)
		if !end() {
			cn.spoiled = true
			if err == nil {
				err = ctx.Err()
			}
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, some...)
	}
	return infos, nil
}

func (p *page) describePart(cn *conn, keys []wire.FrameKey) ([]wire.FrameInfo, error) {
	for _, k := range keys {
		cn.Command("GET", k.Count())
		for _, size := range p.sizes[k] {
			cn.Command("EXISTS", k.Data(size))
			cn.Command("STRLEN", k.Data(size))
		}
	}
	if err := cn.Flush(); err != nil {
		return nil, err
	}
	var infos []wire.FrameInfo
	for _, k := range keys {
		info := wire.FrameInfo{Frame: k.String(), Count: -1, Sizes: map[string]int64{}}
		count, err := shortReply(cn)
		if err != nil {
			return nil, err
		}
		if text, ok := count.(string); ok {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				info.Count = n
			}
		}
		for _, size := range p.sizes[k] {
			there, err := shortReply(cn)
			if err != nil {
				return nil, err
			}
			length, err := shortReply(cn)
			if err != nil {
				return nil, err
			}
			if there == int64(1) {
				info.Sizes[size], _ = length.(int64)
			}
		}
		if count != nil || len(info.Sizes) > 0 {
			infos = append(infos, info)
		}
	}
	return infos, nil
}

// shortReply reads an integer or a short text; an error reply is nil.
func shortReply(cn *conn) (any, error) {
	reply, err := cn.Reply(64)
	if resp.CodeOf(err) != "" {
		return nil, nil
	}
	return reply, err
}

// escapeGlob makes SCAN take s literally.
func escapeGlob(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte(`*?[]^-\`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
