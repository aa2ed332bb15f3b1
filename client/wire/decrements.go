package wire

import (
	"encoding/json"
	"strconv"
	"strings"
)

// A batch of 1,000 decrements costs encoding/json ten times what it costs
// Redis to count them down. So the body of POST …/decr and its answer have
// an encoder and a reader of their own here, for the same JSON.

// DecrementResults is the answer of POST /v1/frames/{source}/decr, in the order
// of the request.
type DecrementResults struct {
	Results []Decremented `json:"results"`
}

// AppendJSON appends what json.Marshal makes of d, with null as [].
func (d *DecrementFrames) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	if d.NodeTag != "" {
		b = append(appendString(append(b, `"node_tag":`...), string(d.NodeTag)), ',')
	}
	b = append(b, `"decrements":[`...)
	for i := range d.Decrements {
		one := &d.Decrements[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"key":`...), one.Key)
		b = strconv.AppendInt(append(b, `,"by":`...), one.By, 10)
		b = append(b, `,"sizes":[`...)
		for j, size := range one.Sizes {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendString(b, size)
		}
		b = append(b, "]}"...)
	}
	return append(b, "]}"...)
}

// AppendJSON appends what json.Marshal makes of r, with null as [].
func (r *DecrementResults) AppendJSON(b []byte) []byte {
	b = append(b, `{"results":[`...)
	for i := range r.Results {
		one := &r.Results[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"key":`...), one.Key)
		if one.Missing {
			b = append(b, `,"missing":true`...)
		}
		b = strconv.AppendInt(append(b, `,"remaining":`...), one.Remaining, 10)
		b = strconv.AppendInt(append(b, `,"deleted":`...), one.Deleted, 10)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// appendString leaves what has to be escaped to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; !plain(c) || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // a string always marshals
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// plain reports whether a byte stands for itself in a JSON string.
func plain(c byte) bool { return c >= ' ' && c < 0x7f && c != '"' && c != '\\' }

// ReadDecrementFrames reads the body of POST …/decr where it is as programs
// write it; plain is false for anything else, be it right or wrong: strings with
// escapes, null, fields that are unknown, missing or there twice. Then nothing
// is said about it, and a decoder that knows all of JSON has to look.
func ReadDecrementFrames(body []byte) (d DecrementFrames, plain bool) {
	r := plainReader{s: string(body)}
	var tagged, listed bool
	for i := r.open('{'); r.member(i, '}'); i++ {
		switch name := r.name(); {
		case name == "node_tag" && !tagged:
			tagged = true
			d.NodeTag = NodeTag(r.str())
		case name == "decrements" && !listed:
			listed = true
			d.Decrements = r.decrements()
		default:
			r.bad = true
		}
	}
	return d, r.end() && listed
}

func (r *plainReader) decrements() []Decrement {
	list := make([]Decrement, 0, r.count(`"key"`, MaxDecrements))
	var last []string
	for i := r.open('['); r.member(i, ']'); i++ {
		d := r.decrement(last)
		list, last = append(list, d), d.Sizes
	}
	return list
}

// decrement reads one; its sizes are those of the last one where they are the
// same, as they mostly are.
func (r *plainReader) decrement(last []string) (d Decrement) {
	var keyed, counted, sized bool
	for i := r.open('{'); r.member(i, '}'); i++ {
		switch name := r.name(); {
		case name == "key" && !keyed:
			keyed = true
			d.Key = r.str()
		case name == "by" && !counted:
			counted = true
			d.By = r.number()
		case name == "sizes" && !sized:
			sized = true
			d.Sizes = r.strings(last)
		default:
			r.bad = true
		}
	}
	r.bad = r.bad || !keyed || !counted
	return d
}

// ReadDecrementResults reads the answer of POST …/decr; plain is false where
// it is not as agents write it, as in [ReadDecrementFrames].
func ReadDecrementResults(body []byte) (d DecrementResults, plain bool) {
	r := plainReader{s: string(body)}
	listed := false
	for i := r.open('{'); r.member(i, '}'); i++ {
		if r.name() != "results" || listed {
			return d, false
		}
		listed = true
		d.Results = make([]Decremented, 0, r.count(`"key"`, MaxDecrements))
		for i := r.open('['); r.member(i, ']'); i++ {
			d.Results = append(d.Results, r.decremented())
		}
	}
	return d, r.end() && listed
}

func (r *plainReader) decremented() (d Decremented) {
	for i := r.open('{'); r.member(i, '}'); i++ {
		switch r.name() {
		case "key":
			d.Key = r.str()
		case "missing":
			d.Missing = r.word("true")
			r.bad = r.bad || !d.Missing
		case "remaining":
			d.Remaining = r.number()
		case "deleted":
			d.Deleted = r.number()
		default:
			r.bad = true
		}
	}
	return d
}

// plainReader reads JSON of which it knows the shape. Once it met something
// else, bad is true and all it gives is of no use.
type plainReader struct {
	s   string
	pos int
	bad bool
}

func (r *plainReader) space() {
	for r.pos < len(r.s) {
		switch r.s[r.pos] {
		case ' ', '\t', '\r', '\n':
			r.pos++
		default:
			return
		}
	}
}

// next takes c, if that is what follows.
func (r *plainReader) next(c byte) bool {
	r.space()
	if r.pos < len(r.s) && r.s[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

func (r *plainReader) word(w string) bool {
	r.space()
	if !strings.HasPrefix(r.s[r.pos:], w) {
		return false
	}
	r.pos += len(w)
	return true
}

// end reports whether all was read, and nothing else follows.
func (r *plainReader) end() bool {
	r.space()
	return !r.bad && r.pos == len(r.s)
}

// open begins an object or a list; it gives 0, the number of its first member.
func (r *plainReader) open(bracket byte) int {
	r.bad = r.bad || !r.next(bracket)
	return 0
}

// member reports whether there is an i-th one, and goes to it, or behind the end.
func (r *plainReader) member(i int, end byte) bool {
	if r.bad || r.next(end) {
		return false
	}
	r.bad = i > 0 && !r.next(',')
	return !r.bad
}

// name reads that of a field.
func (r *plainReader) name() string {
	s := r.str()
	r.bad = r.bad || !r.next(':')
	return s
}

func (r *plainReader) str() string {
	if r.bad = r.bad || !r.next('"'); r.bad {
		return ""
	}
	length := strings.IndexByte(r.s[r.pos:], '"')
	if length < 0 {
		r.bad = true
		return ""
	}
	str := r.s[r.pos : r.pos+length]
	r.pos += length + 1
	for i := range len(str) {
		if !plain(str[i]) {
			r.bad = true
			break
		}
	}
	return str
}

// strings reads a list of strings; it is last where it is the same.
func (r *plainReader) strings(last []string) []string {
	var list []string
	same := 0 // so many are as in last
	for i := r.open('['); r.member(i, ']'); i++ {
		s := r.str()
		switch {
		case list == nil && same < len(last) && s == last[same]:
			same++
		default:
			if list == nil {
				list = append(list, last[:same]...)
			}
			list = append(list, s)
		}
	}
	if list == nil && same == len(last) {
		return last
	}
	if list == nil {
		return last[:same:same]
	}
	return list
}

// number reads a whole number; what has a fraction or an exponent, or does not
// fit, is not plain.
func (r *plainReader) number() int64 {
	r.space()
	start := r.pos
	if r.pos < len(r.s) && r.s[r.pos] == '-' {
		r.pos++
	}
	digits := r.pos
	for r.pos < len(r.s) && '0' <= r.s[r.pos] && r.s[r.pos] <= '9' {
		r.pos++
	}
	n, err := strconv.ParseInt(r.s[start:r.pos], 10, 64)
	if err != nil || r.s[digits] == '0' && r.pos > digits+1 {
		r.bad = true
	}
	return n
}

// count is how often w stands in what is left, at most most times.
func (r *plainReader) count(w string, most int) int { return min(strings.Count(r.s[r.pos:], w), most) }
