package httpapi

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

const (
	contentJSON = "application/json"
	contentRaw  = "application/octet-stream"
)

// largeAnswer is from which size on an answer that is made in one piece counts:
// it has to be taken at frameRate, and all of them together are bounded.
const largeAnswer = 64 << 10

// envelope is how the first FrameDB tells a success.
type envelope struct {
	Success bool `json:"success"`
	Result  any  `json:"result"`
}

func (s *Server) succeed(c *gin.Context, r route, rep reply) {
	if rep.written {
		return
	}
	if rep.contentType != "" {
		writeBody(c, rep.status, rep.contentType, rep.raw)
		return
	}
	if list, long := rep.body.(rows); long {
		s.writeRows(c, r, rep.status, list)
		return
	}
	if r.seed {
		rep.body = envelope{Success: true, Result: rep.body}
	}
	b, err := marshal(rep.body)
	if err != nil {
		s.fail(c, r, err)
		return
	}
	if len(b) > largeAnswer {
		hold, err := s.answers.take(min(int64(len(b)), maxAnswerBytes))
		if err != nil && !c.GetBool(changed) { // what was changed cannot be refused
			s.fail(c, r, err)
			return
		}
		defer hold.release()
	}
	writeBody(c, rep.status, contentJSON, b)
}

// marshal leaves to a body how it is written, where it knows it better.
func marshal(body any) ([]byte, error) {
	if own, quicker := body.(interface{ AppendJSON(b []byte) []byte }); quicker {
		return own.AppendJSON(nil), nil
	}
	return json.Marshal(body)
}

func writeFailure(c *gin.Context, e *wire.Error) {
	if e.RetryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if c.Request.Method == http.MethodHead { // whose answers have no body
		c.Header(wire.HeaderCode, string(e.Code))
		c.Header(wire.HeaderField, e.Field)
	}
	b, err := json.Marshal(wire.FailureOf(e))
	if err != nil {
		panic(err) // strings and a bool always marshal
	}
	writeBody(c, e.Code.HTTPStatus(), contentJSON, b)
}

// unwrap is the server's own writer, which gin's hides.
func unwrap(w http.ResponseWriter) http.ResponseWriter {
	if u, hidden := w.(interface{ Unwrap() http.ResponseWriter }); hidden {
		return u.Unwrap()
	}
	return w
}

// startBody says what the body is.
func startBody(c *gin.Context, status int, contentType string) {
	h := c.Writer.Header()
	h["Content-Type"] = []string{contentType}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if status != 0 {
		c.Writer.WriteHeader(status)
	}
}

func writeBody(c *gin.Context, status int, contentType string, b []byte) {
	startBody(c, status, contentType)
	c.Writer.Header()["Content-Length"] = []string{strconv.Itoa(len(b))}
	if contentType == contentRaw || len(b) > largeAnswer {
		writePaced(c, b)
		return
	}
	c.Writer.Write(b) // whoever has gone does not hear it
}

// seedSpelling is how the first FrameDB's callers spell the fields that errors
// of the store name.
var seedSpelling = map[string]string{
	"name":      "clusterName",
	"node_tag":  "nodeTag",
	"source_id": "sourceId",
	"cluster":   "framedb",
	"label":     "framedbName",
}

// respell names the field at fault as the caller spelled it.
func respell(err error, spelling map[string]string) *wire.Error {
	e := wire.AsError(err)
	to, found := spelling[e.Field]
	if !found {
		return e
	}
	c := *e
	c.Message = strings.Replace(e.Message, e.Field+": ", to+": ", 1)
	c.Field = to
	return &c
}

// clip keeps what a caller sent readable in a message.
func clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
