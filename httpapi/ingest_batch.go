package httpapi

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/ingest/images"
	"github.com/framedb/framedb/client/wire"
)

// maxBatchFrames bounds the frames of one multipart body.
const maxBatchFrames = 1000

// autoSize, or no name at all, has the size be read from the image.
const autoSize = "auto"

// sizeOf is the size that was given, or else the one that the image has.
func sizeOf(data []byte, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	img, err := images.NewScanner(bytes.NewReader(data), wire.MaxFrame).Next()
	if err != nil {
		return "", wire.Errorf(wire.CodeInvalidArgument, "it cannot be read from the frame (%v): give <width>x<height>", err)
	}
	return img.Size(), nil
}

// batch is the frames of a multipart body, in the order in which their first
// parts came.
type batch struct {
	in     *takeIn
	frames []ingest.Frame
	bad    []error        // by frame: why it cannot be taken
	known  map[string]int // by what stands before the size in the name of a part
}

// ingestBatch takes in the frames of a multipart body: each part is a frame in
// one size. Its name is [<frame>/]<size>; parts of one <frame> are one frame.
func (s *Server) ingestBatch(c *gin.Context, in takeIn) (reply, error) {
	body, held, err := s.readHeld(c, ingest.MaxBytes)
	if err != nil {
		return reply{}, err
	}
	b := batch{in: &in, known: map[string]int{}}
	if err := b.read(body); err != nil {
		held.Release()
		return reply{}, err
	}
	good := make([]ingest.Frame, 0, len(b.frames))
	for i, f := range b.frames {
		if b.bad[i] == nil {
			good = append(good, f)
		}
	}
	taken, err := s.cfg.Ingest.Take(c.Request.Context(), in.source, good, in.level, held)
	if err != nil {
		return answerOf(c, nil, err)
	}
	results := make([]ingest.Result, len(b.frames))
	for i, bad := range b.bad {
		if bad != nil {
			results[i].Error = wire.AsError(bad)
			continue
		}
		results[i], taken = taken[0], taken[1:]
	}
	return answerOf(c, results, nil)
}

// read reads the parts. Errors: of the body as a whole.
func (b *batch) read(body []byte) error {
	boundary := b.in.options["boundary"]
	if boundary == "" {
		return wire.InField("Content-Type", wire.Errorf(wire.CodeInvalidArgument, "it has no boundary"))
	}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 1; ; n++ {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return wire.Errorf(wire.CodeMalformed, "part %d of the body cannot be read: %v", n, err)
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return wire.Errorf(wire.CodeMalformed, "part %d of the body cannot be read: %v", n, err)
		}
		_, options, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err := b.add(options["name"], data); err != nil {
			return err
		}
	}
	if len(b.frames) == 0 {
		return wire.Errorf(wire.CodeMalformed, "the body has no parts: send a frame in each")
	}
	return nil
}

// add adds a part to its frame.
func (b *batch) add(name string, data []byte) error {
	label, size := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		label, size = name[:i], name[i+1:]
	}
	group := label
	if size == autoSize {
		size = ""
	}
	if label == "" && size == "" {
		group = "\x00" + strconv.Itoa(len(b.frames)) // a frame of its own
	}
	i, found := b.known[group]
	if !found {
		if i = len(b.frames); i == maxBatchFrames {
			return wire.Errorf(wire.CodeTooLarge, "the body has more than %d frames", maxBatchFrames)
		}
		b.known[group] = i
		if err := b.begin(label); err != nil {
			return err
		}
	}
	if size != "" && !wire.IsSize(size) {
		b.bad[i] = badSize("sizes", size)
		return nil
	}
	size, err := sizeOf(data, size)
	if err != nil {
		b.bad[i] = wire.InField("sizes", err)
		return nil
	}
	b.frames[i].Sizes = append(b.frames[i].Sizes, ingest.Size{Name: size, Data: data})
	return nil
}

// begin begins a frame.
func (b *batch) begin(label string) error {
	f := ingest.Frame{Count: b.in.count, TTL: b.in.ttl}
	if key, isFrame := wire.ParseFrame(label); isFrame {
		f.Key = key
	} else if b.in.id != "" {
		var err error
		if f.ID, err = derivedID(b.in.id, "ingest/"+string(b.in.source), len(b.frames)); err != nil {
			return err
		}
	}
	b.frames = append(b.frames, f)
	b.bad = append(b.bad, nil)
	return nil
}
