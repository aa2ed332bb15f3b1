package httpapi

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// Ingest is what the handlers need of the service that takes frames in.
type Ingest interface {
	// Known returns ErrNotFound in Field "source" when nobody knows the source.
	Known(source wire.SourceID) error
	// Hold takes memory for n bytes of frames, before they are read.
	//
	// Errors: ErrOverloaded with RetryAfter, ErrUnavailable.
	Hold(n int64) (Hold, error)
	// Take takes frames in, one result for each; it releases the hold, which
	// is one of Hold. See ingest.Service.Ingest.
	Take(ctx context.Context, source wire.SourceID, frames []ingest.Frame, level ingest.Level, hold Hold) ([]ingest.Result, error)
	// FromStream and FromImages take in what r gives, and call each for the
	// result of every frame. See ingest.Service.
	FromStream(ctx context.Context, source wire.SourceID, r io.Reader, level ingest.Level, each func(ingest.Result) error) error
	FromImages(ctx context.Context, source wire.SourceID, r io.Reader, level ingest.Level, each func(ingest.Result) error) error
	IngestStatus() wire.IngestStatus
}

// Hold is memory that was taken for frames.
type Hold interface {
	// Grow takes n bytes more. Errors: those of Ingest.Hold.
	Grow(n int64) error
	// Release gives all of it back; again, it does nothing.
	Release()
}

// takeIn is one call that brings frames.
type takeIn struct {
	source  wire.SourceID
	level   ingest.Level
	media   string
	options map[string]string // of the media type
	id      wire.RequestID
	count   *int64
	ttl     time.Duration
	key     wire.FrameKey
	size    string
}

func (s *Server) v1Ingest(c *gin.Context) (reply, error) {
	in, err := takeInOf(c)
	if err != nil {
		return reply{}, err
	}
	if s.cfg.Ingest == nil {
		return reply{}, later(wire.CodeUnavailable, "this agent takes no frames in")
	}
	if err := s.cfg.Ingest.Known(in.source); err != nil {
		return reply{}, err
	}
	switch {
	case in.media == wire.ContentFrames:
		return s.ingestStream(c, in, s.cfg.Ingest.FromStream)
	case in.media == "multipart/x-mixed-replace" || in.media == "video/x-motion-jpeg":
		return s.ingestStream(c, in, s.cfg.Ingest.FromImages)
	case in.media == "multipart/form-data" || in.media == "multipart/mixed":
		return s.ingestBatch(c, in)
	}
	return s.ingestOne(c, in)
}

// takeInOf reads all but the body.
func takeInOf(c *gin.Context) (in takeIn, err error) {
	if in.source, err = pathName[wire.SourceID](c, "source"); err != nil {
		return in, err
	}
	q, err := queryOf(c)
	if err != nil {
		return in, err
	}
	if in.level, err = ingest.ParseLevel(q.Get("ack")); err != nil {
		return in, wire.InField("ack", err)
	}
	if in.id, err = requestID(c); err != nil {
		return in, err
	}
	if q.Get("count") != "" {
		n, err := parseUint(q, "count", 0, 0, ingest.MaxCount)
		if err != nil {
			return in, err
		}
		count := int64(n)
		in.count = &count
	}
	ttl, err := parseUint(q, "ttl_ms", 0, 0, uint64(ingest.MaxTTL.Milliseconds()))
	if err != nil {
		return in, err
	}
	in.ttl = time.Duration(ttl) * time.Millisecond
	if text := q.Get("frame"); text != "" {
		var isFrame bool
		if in.key, isFrame = wire.ParseFrame(text); !isFrame {
			return in, wire.InField("frame", wire.Errorf(wire.CodeInvalidArgument, "%q is no frame: give <source>?<updates>?<restarts>__<n>, percent-encoded", clip(text)))
		}
		if in.key.Source() != in.source {
			return in, wire.InField("frame", notOf(in.key, in.source))
		}
	}
	if in.size = q.Get("size"); in.size != "" && !wire.IsSize(in.size) {
		return in, badSize("size", in.size)
	}
	return in, in.readMedia(c.GetHeader("Content-Type"))
}

func badSize(field, size string) error {
	return wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, "%q is no size: give <width>x<height>", clip(size)))
}

// readMedia reads the content type, and refuses what does not go with it.
func (in *takeIn) readMedia(text string) (err error) {
	const field = "Content-Type"
	if in.media, in.options, err = mime.ParseMediaType(text); err != nil {
		return wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, "%q cannot be read: %v", clip(text), err))
	}
	single := in.media == contentRaw || strings.HasPrefix(in.media, "image/")
	batch := in.media == "multipart/form-data" || in.media == "multipart/mixed"
	stream := in.media == wire.ContentFrames || in.media == "multipart/x-mixed-replace" || in.media == "video/x-motion-jpeg"
	if !single && !batch && !stream {
		return wire.InField(field, wire.Errorf(wire.CodeInvalidArgument,
			"%q is not taken in: give image/*, application/octet-stream, multipart/form-data, multipart/mixed, %s, multipart/x-mixed-replace or video/x-motion-jpeg",
			clip(in.media), wire.ContentFrames))
	}
	for _, only := range []struct {
		name           string
		given, allowed bool
		remedy         string
	}{
		{"frame", in.key != (wire.FrameKey{}), single, "name frames in the body"},
		{"size", in.size != "", single, "name sizes in the body"},
		{"count", in.count != nil, !stream, "say it in the head of each frame, or of the source"},
		{"ttl_ms", in.ttl != 0, !stream, "say it in the head of each frame, or of the source"},
		{wire.HeaderRequestID, in.id != "", !stream, "give each frame of a stream an id of its own"},
	} {
		if only.given && !only.allowed {
			return wire.InField(only.name, wire.Errorf(wire.CodeInvalidArgument, "it does not go with %s: %s", in.media, only.remedy))
		}
	}
	return nil
}

// ingestOne takes in a frame in one size, which is the body.
func (s *Server) ingestOne(c *gin.Context, in takeIn) (reply, error) {
	body, held, err := s.readHeld(c, wire.MaxFrame)
	if err != nil {
		return reply{}, err
	}
	size, err := sizeOf(body, in.size)
	if err != nil {
		held.Release()
		return reply{}, wire.InField("size", err)
	}
	f := ingest.Frame{Key: in.key, ID: in.id, Count: in.count, TTL: in.ttl, Sizes: []ingest.Size{{Name: size, Data: body}}}
	results, err := s.cfg.Ingest.Take(c.Request.Context(), in.source, []ingest.Frame{f}, in.level, held)
	return answerOf(c, results, err)
}

// readHeld reads the whole body into memory that was taken for it before.
func (s *Server) readHeld(c *gin.Context, most int64) ([]byte, Hold, error) {
	size := c.Request.ContentLength
	if size > most {
		return nil, nil, tooLarge(most)
	}
	if size == 0 {
		return nil, nil, wire.Errorf(wire.CodeMalformed, "the body is empty: send a frame")
	}
	held, err := s.cfg.Ingest.Hold(max(size, framePiece))
	if err != nil {
		return nil, nil, err
	}
	body, err := fill(newUpload(c), held, size, most)
	if err == nil && len(body) == 0 {
		err = wire.Errorf(wire.CodeMalformed, "the body is empty: send a frame")
	}
	if err != nil {
		held.Release()
		return nil, nil, err
	}
	return body, held, nil
}

// fill reads a body. One of unknown size takes more memory as it comes.
func fill(r io.Reader, held Hold, size, most int64) ([]byte, error) {
	if size >= 0 {
		b := make([]byte, size)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, bodyError(err)
		}
		return b, nil
	}
	b := make([]byte, 0, framePiece)
	for {
		if len(b) == cap(b) {
			if int64(len(b)) > most {
				return nil, tooLarge(most)
			}
			if err := held.Grow(int64(cap(b))); err != nil {
				return nil, err
			}
			b = append(make([]byte, 0, 2*cap(b)), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF && int64(len(b)) <= most:
			return b, nil
		case err == io.EOF:
			return nil, tooLarge(most)
		case err != nil:
			return nil, err
		}
	}
}

// answerOf tells what became of a batch. When no frame was taken the answer is
// the failure of one: of one that may be repeated, if there is such.
func answerOf(c *gin.Context, results []ingest.Result, err error) (reply, error) {
	http.NewResponseController(unwrap(c.Writer)).SetWriteDeadline(time.Now().Add(writeTimeout))
	if err != nil {
		return reply{}, err
	}
	a := ingest.Answer{Results: results}
	var worst *wire.Error
	for _, r := range results {
		if r.Error == nil {
			continue
		}
		a.Failed++
		if worst == nil || mayRepeat(r.Error) && !mayRepeat(worst) {
			worst = r.Error
		}
	}
	if a.Failed < len(results) {
		c.Set(changed, true)
		return ok(a)
	}
	if len(results) > 1 {
		all := *worst
		all.Message = "none of the frames was taken; of one: " + worst.Message
		worst = &all
	}
	return reply{}, worst
}

func mayRepeat(e *wire.Error) bool {
	switch e.Code {
	case wire.CodeOverloaded, wire.CodeUnavailable, wire.CodeOutcomeUnknown, wire.CodeDiskFull:
		return true
	}
	return false
}

func (s *Server) v1IngestStatus(c *gin.Context) (reply, error) {
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	source := wire.SourceID(q.Get("source"))
	if err := checkOptional("source", source); err != nil {
		return reply{}, err
	}
	if s.cfg.Ingest == nil {
		return reply{}, later(wire.CodeUnavailable, "this agent takes no frames in")
	}
	status := s.cfg.Ingest.IngestStatus()
	if source != "" {
		lanes := []wire.IngestLane{}
		for _, l := range status.Lanes {
			if l.Source == source {
				lanes = append(lanes, l)
			}
		}
		status.Lanes = lanes
	}
	return ok(status)
}
