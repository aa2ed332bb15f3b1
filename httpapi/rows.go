package httpapi

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	// piece is how many bytes of an answer of any length are made at once.
	piece = 64 << 10
	// listTimeout bounds how long a reader may take over a list. Until then it
	// keeps the view that the rows come from.
	listTimeout = 2 * time.Minute
)

// rows is the body of an answer that is a list of any length. Its rows are
// encoded when the reader has taken those before, so that a slow one costs a
// piece and not a copy of them all; a view of the store, from which they come,
// costs next to nothing.
type rows iter.Seq[any]

// rowsIn are rows of a list.
func rowsIn[T any](list []T) rows {
	return func(yield func(any) bool) {
		for _, row := range list {
			if !yield(row) {
				return
			}
		}
	}
}

// writeRows answers with a list: in one piece where it fits, else in as many as
// it takes.
func (s *Server) writeRows(c *gin.Context, r route, status int, list rows) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	buf.WriteByte('[')
	for row := range list {
		if buf.Len() >= piece {
			if !writePiece(c, status, &buf) {
				return
			}
		}
		if buf.Len() > 1 || c.Writer.Written() {
			buf.WriteByte(',')
		}
		if err := enc.Encode(row); err != nil {
			s.fail(c, r, err)
			return
		}
		buf.Truncate(buf.Len() - 1) // the encoder's line end
	}
	buf.WriteByte(']')
	if !c.Writer.Written() && buf.Len() <= largeAnswer {
		writeBody(c, status, contentJSON, buf.Bytes())
		return
	}
	writePiece(c, status, &buf)
}

// writePiece sends what there is and empties the buffer. It is false when the
// reader has gone.
func writePiece(c *gin.Context, status int, buf *bytes.Buffer) bool {
	if !c.Writer.Written() {
		startBody(c, status, contentJSON)
		http.NewResponseController(unwrap(c.Writer)).SetWriteDeadline(time.Now().Add(listTimeout))
	}
	_, err := c.Writer.Write(buf.Bytes())
	buf.Reset()
	return err == nil
}
