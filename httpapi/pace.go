package httpapi

import (
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

// A frame that is on its way, and any large answer that is made in one piece,
// holds memory of all callers' budget. So it has to move: at frameRate, on the
// whole, after frameGrace. A frame of wire.MaxFrame has 138 s.
const (
	frameGrace = 10 * time.Second
	frameRate  = 512 << 10 // bytes a second
	// framePiece is the step in which memory is reserved at first, and what is
	// written at once.
	framePiece = 64 << 10
)

// due is when more than moved bytes must have passed.
func due(start time.Time, moved int) time.Time {
	return start.Add(frameGrace + time.Duration(moved)*time.Second/frameRate)
}

// readFrame reads the body, which is a frame. It reserves and takes memory as
// the bytes come: a frame that is only promised costs a piece. The share holds
// what it took, also after an error.
//
// Errors: ErrTooLarge, ErrOverloaded, CodeMalformed (it came too slowly, or not
// to its end).
func readFrame(c *gin.Context, hold *share) ([]byte, error) {
	size := c.Request.ContentLength
	if size > wire.MaxFrame {
		return nil, tooLarge(wire.MaxFrame)
	}
	most := size
	if size < 0 {
		most = wire.MaxFrame + 1 // with the byte that is too much
	}
	body := http.MaxBytesReader(unwrap(c.Writer), c.Request.Body, wire.MaxFrame)
	rc, start := http.NewResponseController(unwrap(c.Writer)), time.Now()
	var b []byte
	for int64(len(b)) != size {
		if len(b) == cap(b) {
			room := min(max(framePiece, 2*int64(cap(b))), most)
			if err := hold.resize(room); err != nil {
				return nil, err
			}
			b = append(make([]byte, 0, room), b...)
		}
		rc.SetReadDeadline(due(start, len(b)))
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF && (size < 0 || int64(len(b)) == size) {
			break
		}
		if err != nil {
			return nil, bodyError(err)
		}
	}
	return b, nil
}

// writePaced sends a body. Who takes it too slowly is cut off.
func writePaced(c *gin.Context, b []byte) {
	rc, start := http.NewResponseController(unwrap(c.Writer)), time.Now()
	for sent := 0; sent < len(b); {
		rc.SetWriteDeadline(due(start, sent))
		n, err := c.Writer.Write(b[sent:min(sent+framePiece, len(b))])
		if err != nil {
			return // whoever has gone does not hear it
		}
		sent += n
	}
}
