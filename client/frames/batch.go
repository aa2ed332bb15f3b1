package frames

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// CheckDecrement reports whether d may stand in a batch.
//
// Errors: ErrInvalidArgument.
func CheckDecrement(d wire.Decrement) error {
	var c checker
	return c.check(&d)
}

// CheckDecrements reports whether these may be one batch of one source's
// frames: it is what Decrement asks, and whose frames they are, at a tenth of
// the cost of CheckDecrement for each.
//
// Errors: ErrInvalidArgument, ErrTooLarge; Field is "decrements" or one of them.
func CheckDecrements(source wire.SourceID, batch []wire.Decrement) error {
	prefix := countsOf(source)
	for i := range batch {
		if !strings.HasPrefix(batch[i].Key, prefix) {
			return notOf(source, "decrements", i, batch[i].Key)
		}
	}
	return checkDecrements("decrements", "", batch)
}

// CheckUses is CheckDecrements for what Retain and TakeLease are asked.
func CheckUses(source wire.SourceID, uses []Use) error {
	prefix := countsOf(source)
	for i := range uses {
		if !strings.HasPrefix(uses[i].Key, prefix) {
			return notOf(source, "uses", i, uses[i].Key)
		}
	}
	return checkDecrements("uses", "", asDecrements(uses))
}

// countsOf begins the count keys of a source.
func countsOf(source wire.SourceID) string {
	prefix := wire.FrameKey{Prefix: string(source) + "?"}.Count()
	return prefix[:len(prefix)-len("__0")]
}

func notOf(source wire.SourceID, field string, i int, key string) error {
	return wire.InField(field+"["+strconv.Itoa(i)+"]",
		wire.Errorf(wire.CodeInvalidArgument, "key: %.300q is no count key of source %q", key, source))
}

// checkDecrements checks a batch, which the caller gave in this field.
func checkDecrements(field string, token wire.RequestID, batch []wire.Decrement) error {
	if err := token.Validate(); err != nil {
		return wire.InField("token", err)
	}
	if len(batch) > wire.MaxDecrements {
		return wire.InField(field, wire.Errorf(wire.CodeTooLarge, "%d at once: at most %d", len(batch), wire.MaxDecrements))
	}
	var c checker
	for i := range batch {
		if err := c.check(&batch[i]); err != nil {
			return wire.InField(field+"["+strconv.Itoa(i)+"]", err)
		}
	}
	if c.ascending {
		return nil
	}
	seen := make(map[string]struct{}, len(batch))
	for i := range batch {
		if seen[batch[i].Key] = struct{}{}; len(seen) <= i {
			return wire.InField(field+"["+strconv.Itoa(i)+"]",
				wire.Errorf(wire.CodeInvalidArgument, "key: %q stands in the batch twice: add them up", batch[i].Key))
		}
	}
	return nil
}

// checker checks decrements, and quickly those that differ from the last one in
// the number only, as most do.
type checker struct {
	prefix string
	last   uint64
	n      int
	// ascending is true when all keys had one prefix and growing numbers: then
	// none came twice.
	ascending bool
	sizes     []string // of the last one
}

func (c *checker) check(d *wire.Decrement) error {
	switch {
	case !c.key(d.Key):
		return wire.Errorf(wire.CodeInvalidArgument, "key: %.300q is no count key: give ref__<source>?<updates>?<restarts>__<number>", d.Key)
	case d.By < 1 || d.By > wire.MaxDecrementBy:
		return wire.Errorf(wire.CodeInvalidArgument, "by: %d is out of range: give 1 to %d", d.By, int64(wire.MaxDecrementBy))
	case slices.Equal(d.Sizes, c.sizes):
		return nil
	}
	if err := CheckSizes(d.Sizes...); err != nil {
		return fmt.Errorf("sizes: %w", err)
	}
	c.sizes = d.Sizes
	return nil
}

func (c *checker) key(key string) bool {
	number, same := strings.CutPrefix(key, c.prefix)
	if same && c.n > 0 {
		if n, ok := plainNumber(number); ok {
			c.ascending = c.ascending && n > c.last
			c.last = n
			c.n++
			return true
		}
	}
	k, ok := wire.ParseCountKey(key)
	if ok {
		c.ascending = c.n == 0
		c.prefix, c.last = key[:strings.LastIndexByte(key, '_')+1], k.Number
		c.n++
	}
	return ok
}

// plainNumber reads a number without sign or leading zeros that surely fits;
// ParseCountKey decides about others.
func plainNumber(s string) (n uint64, ok bool) {
	if s == "" || len(s) > len("999999999999999999") || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, true
}

// plan is the order in which a batch goes to the function: group by group.
type plan struct {
	groups []batchGroup
	usual  []string // for the groups without sizes
	order  []int    // indexes into the batch; nil is the batch's own order
}

// batchGroup is n members of a batch that drop alike; they share arguments.
type batchGroup struct {
	by    int64
	sizes []string
	n     int
}

func (g *batchGroup) fits(d *wire.Decrement) bool {
	return g.by == d.By && slices.Equal(g.sizes, d.Sizes)
}

// at is the index in the batch of the i-th key that is sent.
func (p *plan) at(i int) int {
	if p.order == nil {
		return i
	}
	return p.order[i]
}

// groupSizes are those whose data go with the counts of a group.
type groupSizes struct {
	named []string
	all   bool // also all that the master knows of the frame's source
}

// allSizes is what framedb.lua takes for all sizes of a source; no size is
// called that.
const allSizes = "*"

func (s groupSizes) args() int {
	if s.all {
		return len(s.named) + 1
	}
	return len(s.named)
}

func (p *plan) sizes(group int) groupSizes {
	if sizes := p.groups[group].sizes; len(sizes) > 0 {
		return groupSizes{named: sizes}
	}
	return groupSizes{named: p.usual, all: true}
}

// planOf makes the plan; usual is for the decrements that name no sizes.
func planOf(batch []wire.Decrement, usual []string) plan {
	first := batchGroup{by: batch[0].By, sizes: batch[0].Sizes, n: len(batch)}
	if !slices.ContainsFunc(batch, func(d wire.Decrement) bool { return !first.fits(&d) }) {
		return plan{groups: []batchGroup{first}, usual: usual}
	}
	p := plan{usual: usual}
	var members [][]int
	byKind := map[string]int{} // see appendKind
	var kind []byte
	for i := range batch {
		d := &batch[i]
		kind = appendKind(kind[:0], d.By, d.Sizes)
		g, known := byKind[string(kind)]
		if !known {
			g = len(p.groups)
			byKind[string(kind)] = g
			p.groups = append(p.groups, batchGroup{by: d.By, sizes: d.Sizes})
			members = append(members, nil)
		}
		p.groups[g].n++
		members[g] = append(members[g], i)
	}
	p.order = slices.Concat(members...)
	return p
}
