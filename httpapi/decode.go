package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

const (
	// bodyTimeout bounds how long a JSON body may take to arrive.
	bodyTimeout = 30 * time.Second
	// eagerBody is the size up to which a JSON body is read in one piece. Most
	// are far below it.
	eagerBody = 16 << 10
)

// lenient makes a handler of the first FrameDB's: unknown fields are ignored
// and of a field that stands twice the last one counts, as it was there. need
// lists the required fields.
func lenient[In any](f func(*gin.Context, *In) (reply, error), need ...string) handler {
	return takes(newDecoder[In](false, need), nil, f)
}

// strict makes a handler of the v1 API: an unknown field is refused, and so is
// one that stands twice.
func strict[In any](f func(*gin.Context, *In) (reply, error), need ...string) handler {
	return takes(newDecoder[In](true, need), nil, f)
}

// quick is strict for bodies of which there are many large ones: read knows
// them as programs write them, and leaves the others to the decoder.
func quick[In any](read func(body []byte) (in In, plain bool), f func(*gin.Context, *In) (reply, error), need ...string) handler {
	return takes(newDecoder[In](true, need), read, f)
}

func takes[In any](d decoder, read func([]byte) (In, bool), f func(*gin.Context, *In) (reply, error)) handler {
	return func(c *gin.Context) (reply, error) {
		body, err := readBody(c, wire.MaxBody, eagerBody)
		if err != nil {
			return reply{}, err
		}
		if read != nil {
			if in, plain := read(body); plain {
				return f(c, &in)
			}
		}
		in := new(In)
		if err := d.decode(body, in); err != nil {
			return reply{}, err
		}
		return f(c, in)
	}
}

// limitBody gives a body its deadline, also one that nobody will read: the
// server reads on behind a short answer, to keep the connection.
func limitBody(c *gin.Context, timeout time.Duration) {
	http.NewResponseController(unwrap(c.Writer)).SetReadDeadline(time.Now().Add(timeout))
}

// readBody reads at most limit bytes. It goes to the server's own writer,
// because only that closes the connection of a caller who sends on and on. The
// server lifts the deadline once a body has come whole, for what follows may
// wait, and closes the connection behind any other.
//
// Eager bounds what is allocated before it has come: a caller who only promises
// a large body costs no memory.
func readBody(c *gin.Context, limit, eager int64) ([]byte, error) {
	size := c.Request.ContentLength
	if size > limit {
		return nil, tooLarge(limit)
	}
	r := http.MaxBytesReader(unwrap(c.Writer), c.Request.Body, limit)
	if size >= 0 && size <= eager {
		b := make([]byte, size)
		_, err := io.ReadFull(r, b)
		return b, bodyError(err)
	}
	b, err := io.ReadAll(r)
	return b, bodyError(err)
}

func bodyError(err error) error {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return tooLarge(large.Limit)
	default:
		return wire.Errorf(wire.CodeMalformed, "the body ended early: %v", err)
	}
}

func tooLarge(limit int64) error {
	return wire.Errorf(wire.CodeTooLarge, "the body is too large: at most %d bytes are allowed", limit)
}

// decoder reads one JSON object into a struct. encoding/json alone matches
// names in any case, does not say where an unknown field stands, and cannot
// tell a missing field from a zero one.
type decoder struct {
	shape  *shape
	strict bool
	need   []string
}

func newDecoder[In any](strict bool, need []string) decoder {
	return decoder{shape: shapeOf(reflect.TypeFor[In]()), strict: strict, need: need}
}

// decode fills the struct that in points at. A field that is null counts as
// absent.
//
// Errors: CodeMalformed (empty, not UTF-8, not JSON, something behind it, no
// object, too deep; with the offset), CodeInvalidArgument (wrong type),
// CodeUnknownField, CodeMissingField.
func (d *decoder) decode(body []byte, in any) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	w := walker{data: body, strict: d.strict}
	seen, err := w.object(d.shape, reflect.ValueOf(in).Elem(), "")
	if err != nil {
		return err
	}
	for _, name := range d.need {
		if !seen[name] {
			return wire.InField(name, wire.Errorf(wire.CodeMissingField, "is required"))
		}
	}
	return nil
}

// checkJSON refuses what is not exactly one JSON object.
func checkJSON(body []byte) error {
	start := bytes.TrimLeft(body, " \t\r\n")
	if len(start) == 0 {
		return wire.Errorf(wire.CodeMalformed, "the body is empty: send a JSON object")
	}
	if !utf8.Valid(body) {
		return wire.Errorf(wire.CodeMalformed, "the body is not UTF-8 at byte %d", validPrefix(body))
	}
	var whole json.RawMessage
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(body, &whole); {
	case errors.As(err, &syntax):
		return wire.Errorf(wire.CodeMalformed, "the body is not JSON at byte %d: %v", syntax.Offset, err)
	case err != nil:
		return wire.Errorf(wire.CodeMalformed, "the body is not JSON: %v", err)
	case start[0] != '{':
		return wire.Errorf(wire.CodeMalformed, "the body is %s: send a JSON object", kindOf(start[0]))
	}
	return nil
}

func validPrefix(b []byte) int {
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

// shape is what a decoder knows of a struct type.
type shape struct{ fields map[string]field }

type field struct {
	index []int
	want  string // what a caller is told to send
	elem  *shape // of a list of structs
	inner *shape // of a struct, or a pointer to one
}

func shapeOf(t reflect.Type) *shape {
	s := &shape{fields: map[string]field{}}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		fd := field{index: f.Index, want: wants(f.Type)}
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			fd.elem = shapeOf(f.Type.Elem())
		}
		if t := structIn(f.Type); t != nil {
			fd.inner = shapeOf(t)
		}
		s.fields[name] = fd
	}
	return s
}

// structIn is the struct that a type is, or points at; nil when it is none.
func structIn(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// wants tells in words which JSON a Go type takes.
func wants(t reflect.Type) string {
	if t == reflect.TypeFor[json.RawMessage]() {
		return "any JSON"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return wants(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list, each element " + wants(t.Elem())
	case reflect.Map:
		return "an object, each value " + wants(t.Elem())
	default:
		return "an object"
	}
}
