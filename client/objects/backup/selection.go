package backup

import (
	"slices"
	"strings"

	"github.com/framedb/framedb/client/objects"
)

// Selection says which objects of a FrameDB, or of a backup, are meant. The
// zero value means all.
type Selection struct {
	// Prefixes of keys. An empty one means all.
	Prefixes []string `json:"prefixes,omitempty"`
	// Keys that must be there: one that is not is ErrNotFound, unless a prefix
	// covers it.
	Keys []objects.Key `json:"keys,omitempty"`
}

// Bounds of a selection.
const (
	MaxPrefixes = 1000
	MaxKeys     = 10_000
)

// normal validates a selection and drops what is in it twice: no key is then
// under two prefixes, or under a prefix and in Keys.
//
// Errors: ErrInvalidArgument with Field "prefixes" or "keys".
func (s Selection) normal() (Selection, error) {
	if len(s.Prefixes) > MaxPrefixes {
		return Selection{}, invalid("prefixes", "there are %d: at most %d are allowed", len(s.Prefixes), MaxPrefixes)
	}
	if len(s.Keys) > MaxKeys {
		return Selection{}, invalid("keys", "there are %d: at most %d are allowed", len(s.Keys), MaxKeys)
	}
	if len(s.Prefixes) == 0 && len(s.Keys) == 0 {
		return Selection{Prefixes: []string{""}}, nil
	}
	var out Selection
	for _, p := range slices.Sorted(slices.Values(s.Prefixes)) {
		if p != "" && objects.Key(p+"x").Validate() != nil && objects.Key(p).Validate() != nil {
			return Selection{}, invalid("prefixes", "%.300q is no beginning of a key", p)
		}
		if n := len(out.Prefixes); n == 0 || !strings.HasPrefix(p, out.Prefixes[n-1]) {
			out.Prefixes = append(out.Prefixes, p)
		}
	}
	for _, k := range slices.Sorted(slices.Values(s.Keys)) {
		if err := k.Validate(); err != nil {
			return Selection{}, invalid("keys", "%v", err)
		}
		if n := len(out.Keys); !out.covers(k) && (n == 0 || out.Keys[n-1] != k) {
			out.Keys = append(out.Keys, k)
		}
	}
	return out, nil
}

// covers reports whether the key is under one of the prefixes.
func (s Selection) covers(k objects.Key) bool {
	return slices.ContainsFunc(s.Prefixes, func(p string) bool { return strings.HasPrefix(string(k), p) })
}

// has reports whether the key is selected; s is normal.
func (s Selection) has(k objects.Key) bool {
	if s.covers(k) {
		return true
	}
	_, found := slices.BinarySearch(s.Keys, k)
	return found
}
