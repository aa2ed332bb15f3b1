package httpapi

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// rangeOf reads a Range header; nil asks for the whole object. RFC 9110 lets a
// server ignore what it does not serve: other units, and several ranges at once.
//
// Errors: ErrRange with the field named, for a byte range that is none.
func rangeOf(header string) (*objects.Range, error) {
	unit, spec, found := strings.Cut(header, "=")
	if !found || !strings.EqualFold(strings.TrimSpace(unit), "bytes") || strings.Contains(spec, ",") {
		return nil, nil
	}
	bad := wire.InField("Range", wire.Errorf(wire.CodeRange, "%q is no range: give bytes=<first>-<last>, bytes=<first>- or bytes=-<count>", clip(header)))
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !dash || first == "" && last == "" {
		return nil, bad
	}
	if first == "" {
		n, err := position(last)
		if err != nil || n == 0 {
			return nil, bad
		}
		return &objects.Range{Offset: -n, Length: -1}, nil
	}
	from, err := position(first)
	if err != nil {
		return nil, bad
	}
	if last == "" {
		return &objects.Range{Offset: from, Length: -1}, nil
	}
	to, err := position(last)
	if err != nil || to < from {
		return nil, bad
	}
	return &objects.Range{Offset: from, Length: to - from + 1}, nil
}

// position reads digits; what is too large is as large as can be.
func position(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if errors.Is(err, strconv.ErrRange) || n == math.MaxInt64 {
		return math.MaxInt64 - 1, nil
	}
	return int64(n), err
}

// etags are those of a conditional header. Tags that are no checksum of ours
// can belong to no object and are left out.
type etags struct {
	any    bool // *
	strong []objects.Sum
	weak   []objects.Sum
}

// has compares weakly, as If-None-Match does: caches weaken tags on their way.
func (e *etags) has(sum objects.Sum) bool {
	return e != nil && (e.any || slices.Contains(e.strong, sum) || slices.Contains(e.weak, sum))
}

// etagsOf reads a header of tags; nil when there is none.
func etagsOf(h http.Header, name string) (*etags, error) {
	if h[name] == nil {
		return nil, nil
	}
	text := strings.TrimSpace(strings.Join(h[name], ","))
	if text == "*" {
		return &etags{any: true}, nil
	}
	tags := &etags{}
	for rest := text; rest != ""; {
		weak := strings.HasPrefix(rest, "W/")
		rest = strings.TrimPrefix(rest, "W/")
		tag, behind, closed := strings.Cut(strings.TrimPrefix(rest, `"`), `"`)
		if !strings.HasPrefix(rest, `"`) || !closed {
			return nil, badHeader(name, `%q is no list of tags: give "<checksum>" in quotes, or *`, clip(text))
		}
		if sum, err := objects.ParseSum(tag); err == nil && weak {
			tags.weak = append(tags.weak, sum)
		} else if err == nil {
			tags.strong = append(tags.strong, sum)
		}
		rest = strings.TrimLeft(behind, ", \t")
	}
	return tags, nil
}
