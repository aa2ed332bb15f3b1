package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// What one transfer of an object holds in memory at most, as client/objects has
// it, with what a database driver copies; and what all of them together do.
const (
	leastMemory       = 64 << 10
	downloadMemory    = 16 << 20
	maxUploadMemory   = 24 << 20
	maxTransferMemory = 384 << 20
	// maxObjectListings bounds the listings: one of a FrameDB in memory looks
	// at every key of it.
	maxObjectListings = 8
)

// uploadMemory is what an upload of a length holds; a negative one is unknown.
func uploadMemory(length int64) int64 {
	if length < 0 || length > maxUploadMemory {
		return maxUploadMemory
	}
	return length + leastMemory
}

// An object takes as long as it takes, so a transfer has no deadline. But who
// keeps it waiting holds memory of all callers' budget: each of them has so
// much patience to use up, and gets a second of it back for each objectRate
// bytes that move. So nothing stands still for longer than objectPatience, and
// at objectRate a transfer goes on for ever. Time in which the database keeps
// us waiting does not count.
const (
	objectPatience = 60 * time.Second
	objectRate     = 64 << 10 // bytes
	// sendPiece is what is written at once.
	sendPiece = 256 << 10
)

type patience struct{ left time.Duration }

func newPatience() patience { return patience{objectPatience} }

func (p *patience) deadline(now time.Time) time.Time { return now.Add(p.left) }

// moved notes that so many bytes took so long.
func (p *patience) moved(n int, took time.Duration) {
	p.left = min(p.left-took+time.Duration(n)*time.Second/objectRate, objectPatience)
}

// upload is the body of a PUT.
type upload struct {
	req      *http.Request
	control  *http.ResponseController
	patience patience
	trailer  bool // the checksum comes behind the body
}

func newUpload(c *gin.Context) *upload {
	_, trailer := c.Request.Trailer[wire.HeaderChecksum]
	return &upload{req: c.Request, control: http.NewResponseController(unwrap(c.Writer)), patience: newPatience(), trailer: trailer}
}

// Read gives what came. Errors: CodeMalformed (it came too slowly, or not to its
// end).
func (u *upload) Read(p []byte) (int, error) {
	start := time.Now()
	u.control.SetReadDeadline(u.patience.deadline(start))
	n, err := u.req.Body.Read(p)
	u.patience.moved(n, time.Since(start))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, wire.Errorf(wire.CodeMalformed, "the body stood still: send at least %d bytes a second on the whole", objectRate)
	}
	if err != nil && err != io.EOF {
		return n, bodyError(err)
	}
	return n, err
}

// checksum is the one that stands behind the body, if it came: proxies may drop
// what stands there.
func (u *upload) checksum() (*objects.Sum, error) {
	text := u.req.Trailer.Get(wire.HeaderChecksum)
	if text == "" {
		return nil, nil
	}
	return checksumOf(text)
}

// sender writes the body of a GET, begun with its first bytes.
type sender struct {
	c        *gin.Context
	patience patience
	begin    func()
	begun    bool
}

func (s *sender) Write(b []byte) (written int, err error) {
	if !s.begun {
		s.begin()
		s.begun = true
	}
	control := http.NewResponseController(unwrap(s.c.Writer))
	for len(b) > 0 {
		start := time.Now()
		control.SetWriteDeadline(s.patience.deadline(start))
		n, err := s.c.Writer.Write(b[:min(len(b), sendPiece)])
		s.patience.moved(n, time.Since(start))
		written += n
		if err != nil {
			return written, err
		}
		b = b[n:]
	}
	return written, nil
}
