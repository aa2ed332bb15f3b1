package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/framedb/framedb/client/wire"
)

// maxDepth bounds how deep a body may nest, metadata included.
const maxDepth = 32

// walker goes through JSON that is known to be valid, field by field.
type walker struct {
	data   []byte
	pos    int
	depth  int
	strict bool
}

// object reads an object into a struct and tells which fields it had.
func (w *walker) object(s *shape, into reflect.Value, path string) (map[string]bool, error) {
	seen := make(map[string]bool, len(s.fields))
	err := w.each('}', func() error {
		at := w.pos
		var name string
		if err := json.Unmarshal(w.token(), &name); err != nil {
			return wire.Errorf(wire.CodeMalformed, "the body is not JSON at byte %d: %v", at, err)
		}
		w.space()
		w.pos++ // the colon
		f, known := s.fields[name]
		full := join(path, name)
		switch {
		case w.strict && !known:
			return wire.InField(full, wire.Errorf(wire.CodeUnknownField, "is unknown (byte %d)", at))
		case w.strict && seen[name]:
			return wire.InField(full, wire.Errorf(wire.CodeInvalidArgument, "stands twice (byte %d)", at))
		case !known:
			return w.skip()
		}
		present, err := w.value(f, into, full)
		seen[name] = present
		return err
	})
	return seen, err
}

// value reads one field; present is false when it is null.
func (w *walker) value(f field, into reflect.Value, path string) (present bool, err error) {
	w.space()
	at := w.pos
	if f.elem != nil && w.data[at] == '[' {
		list := into.FieldByIndex(f.index)
		list.SetZero()
		return true, w.list(f.elem, list, path)
	}
	if f.inner != nil && w.data[at] == '{' {
		to := into.FieldByIndex(f.index)
		to.SetZero()
		if to.Kind() == reflect.Pointer {
			to.Set(reflect.New(to.Type().Elem()))
			to = to.Elem()
		}
		_, err := w.object(f.inner, to, path)
		return true, err
	}
	if err := w.skip(); err != nil {
		return false, err
	}
	raw := w.data[at:w.pos]
	if raw[0] == 'n' {
		return false, nil
	}
	to := into.FieldByIndex(f.index)
	to.SetZero()
	if err := json.Unmarshal(raw, to.Addr().Interface()); err != nil {
		return false, wrongType(path, f.want, raw, at)
	}
	return true, nil
}

// list reads a list of objects.
func (w *walker) list(s *shape, into reflect.Value, path string) error {
	return w.each(']', func() error {
		i := into.Len()
		path := fmt.Sprintf("%s[%d]", path, i)
		if w.data[w.pos] != '{' {
			at := w.pos
			if err := w.skip(); err != nil {
				return err
			}
			return wrongType(path, "an object", w.data[at:w.pos], at)
		}
		into.Set(reflect.Append(into, reflect.Zero(into.Type().Elem())))
		_, err := w.object(s, into.Index(i), path)
		return err
	})
}

// each calls f at the start of every member of the object or list that begins
// here, and ends behind it.
func (w *walker) each(end byte, f func() error) error {
	w.space()
	if w.depth++; w.depth > maxDepth {
		return wire.Errorf(wire.CodeMalformed, "the body nests deeper than %d levels at byte %d", maxDepth, w.pos)
	}
	w.pos++ // the opening bracket
	for {
		w.space()
		switch w.data[w.pos] {
		case end:
			w.pos++
			w.depth--
			return nil
		case ',':
			w.pos++
		default:
			if err := f(); err != nil {
				return err
			}
		}
	}
}

// skip goes behind the next value.
func (w *walker) skip() error {
	w.space()
	switch w.data[w.pos] {
	case '{':
		return w.each('}', func() error {
			w.token()
			w.space()
			w.pos++ // the colon
			return w.skip()
		})
	case '[':
		return w.each(']', w.skip)
	default:
		w.token()
		return nil
	}
}

// token returns the string, number or word that begins here.
func (w *walker) token() []byte {
	start := w.pos
	if w.data[start] == '"' {
		for w.pos++; w.data[w.pos] != '"'; w.pos++ {
			if w.data[w.pos] == '\\' {
				w.pos++
			}
		}
		w.pos++
		return w.data[start:w.pos]
	}
	for w.pos < len(w.data) && !ends(w.data[w.pos]) {
		w.pos++
	}
	return w.data[start:w.pos]
}

func ends(b byte) bool {
	switch b {
	case ',', ':', '}', ']', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

func (w *walker) space() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return
		}
	}
}

func wrongType(path, want string, raw []byte, at int) error {
	got := kindOf(raw[0])
	if got == "a number" {
		got = clip(string(raw))
	}
	return wire.InField(path, wire.Errorf(wire.CodeInvalidArgument, "want %s, got %s (byte %d)", want, got, at))
}

func kindOf(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

func join(path, name string) string {
	if name = clip(name); path == "" {
		return name
	}
	return path + "." + name
}
