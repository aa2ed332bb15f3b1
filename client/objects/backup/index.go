package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// index is what S3 has of a FrameDB already, for one run. It takes some 150
// bytes for each piece.
type index struct {
	mu     sync.Mutex
	pieces map[content]*known
	large  map[content][]content // objects of more than one piece, from the latest backup
}

type known struct {
	run  runID
	etag entityTag
	used bool // by the manifest that is being made
}

// load lists the pieces that may be used: those that are not marked.
func (p place) load(ctx context.Context) (*index, error) {
	ix := &index{pieces: map[content]*known{}, large: map[content][]content{}}
	marked, err := p.marked(ctx)
	if err != nil {
		return nil, err
	}
	for o, err := range p.s3.list(ctx, p.data()) {
		if err != nil {
			return nil, err
		}
		// A piece of another size than its name says is one that is damaged.
		if pc, ok := parsePiece(o.key); ok && o.size == pc.Size && !marked[pc.id()] {
			ix.pieces[pc.content] = &known{run: pc.Run, etag: o.etag}
		}
	}
	return ix, nil
}

// learn takes the large objects of a backup.
func (ix *index) learn(e Entry) error {
	if len(e.Pieces) > 1 {
		parts := make([]content, len(e.Pieces))
		for i, p := range e.Pieces {
			parts[i] = p.content
		}
		ix.large[content{e.Sum, e.Size}] = parts
	}
	return nil
}

// piece finds a piece and takes it for used.
func (ix *index) piece(c content) (piece, bool) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	k, ok := ix.pieces[c]
	if !ok {
		return piece{}, false
	}
	k.used = true
	return piece{content: c, Run: k.run, ETag: k.etag}, true
}

// add remembers a piece that was uploaded, and takes it for used.
func (ix *index) add(p piece) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.pieces[p.content] = &known{run: p.Run, etag: p.ETag, used: true}
}

// object finds all pieces of an object; ok is false when one is missing.
func (ix *index) object(c content) (pieces []piece, ok bool) {
	if c.Size == 0 {
		return nil, true
	}
	parts := []content{c}
	if c.Size > PieceSize {
		parts = ix.large[c]
	}
	for _, part := range parts {
		p, ok := ix.piece(part)
		if !ok {
			return nil, false
		}
		pieces = append(pieces, p)
	}
	return pieces, len(pieces) > 0
}

// drop forgets pieces that were marked meanwhile. It reports whether one of
// them is used already.
func (ix *index) drop(marked map[piece]bool) (spoiled bool) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for m := range marked {
		if k, ok := ix.pieces[m.content]; ok && k.run == m.Run {
			spoiled = spoiled || k.used
			delete(ix.pieces, m.content)
		}
	}
	return spoiled
}

// mark is a file of pieces that no backup uses.
type mark struct {
	key      string
	modified time.Time
	pieces   []piece
}

func (p place) markDir() string { return p.dir + "marks/" }

// marks reads all marks.
func (p place) marks(ctx context.Context) ([]mark, error) {
	var all []mark
	for o, err := range p.s3.list(ctx, p.markDir()) {
		if err != nil {
			return nil, err
		}
		m := mark{key: p.markDir() + o.key}
		var data []byte
		data, m.modified, err = p.s3.get(ctx, m.key, nil, maxHead)
		if wire.CodeOf(err) == wire.CodeNotFound {
			continue // done meanwhile
		}
		if err != nil {
			return nil, err
		}
		if m.pieces, err = decodeMark(data); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func (p place) marked(ctx context.Context) (map[piece]bool, error) {
	marks, err := p.marks(ctx)
	if err != nil {
		return nil, err
	}
	marked := map[piece]bool{}
	for _, m := range marks {
		for _, pc := range m.pieces {
			marked[pc.id()] = true
		}
	}
	return marked, nil
}

// maxMark is how many pieces are in one file of marks.
const maxMark = 50_000

// putMark writes names of pieces, one a line.
func (p place) putMark(ctx context.Context, pieces []piece) error {
	var lines bytes.Buffer
	for _, pc := range pieces {
		lines.WriteString(pc.key() + "\n")
	}
	_, err := p.s3.put(ctx, p.markDir()+newRun().String(), lines.Bytes(), false)
	return err
}

func decodeMark(data []byte) ([]piece, error) {
	var pieces []piece
	for line := range bytes.Lines(data) {
		p, ok := parsePiece(string(bytes.TrimSuffix(line, []byte("\n"))))
		if !ok {
			return nil, wire.Errorf(wire.CodeCorrupt, "a file of marks has the line %.200q", line)
		}
		pieces = append(pieces, p)
	}
	return pieces, nil
}

// runs are the attempts at backups, and when each was last heard of.
func (p place) runs(ctx context.Context) (map[runID]time.Time, error) {
	runs := map[runID]time.Time{}
	for o, err := range p.s3.list(ctx, p.runDir()) {
		if err != nil {
			return nil, err
		}
		var r runID
		if r.UnmarshalText([]byte(o.key)) == nil {
			runs[r] = o.modified
		}
	}
	return runs, nil
}

func (p place) runDir() string { return p.dir + "runs/" }

// touch says that a run is at work.
func (p place) touch(ctx context.Context, run runID, name Name) error {
	text, err := json.Marshal(struct {
		Name Name `json:"name"`
	}{name})
	if err != nil {
		return err
	}
	_, err = p.s3.put(ctx, p.runDir()+run.String(), text, false)
	return err
}
