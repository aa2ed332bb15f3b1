package backup

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// PieceSize is the most bytes of an object that are one object in S3. A larger
// one is cut, so that it is sent, checked and resumed piece by piece. With what
// a backend of objects holds, 24 MiB, a transfer holds at most 32 MiB.
const PieceSize = 8 << 20

// maxPiece bounds what is read as one: pieces of manifests may be larger.
const maxPiece = 64 << 20

// content is bytes by their checksum and number. Equal contents are stored
// once. Like the ETags of objects, it guards against damage, not a forger.
type content struct {
	Sum  objects.Sum `json:"sum"`
	Size int64       `json:"size"`
}

func contentOf(data []byte) content {
	return content{Sum: objects.SumOf(data), Size: int64(len(data))}
}

// piece is content where it is stored: under the name of the run that
// uploaded it.
type piece struct {
	content
	Run  runID     `json:"run"`
	ETag entityTag `json:"etag,omitzero"`
}

// key is the name of the piece below data/.
func (p piece) key() string {
	sum := p.Sum.String()
	return fmt.Sprintf("%s/%s-%d-%s", sum[:2], sum[2:], p.Size, p.Run)
}

// id is the piece without what S3 says of it.
func (p piece) id() piece {
	p.ETag = entityTag{}
	return p
}

// parsePiece reads what key gives; ok is false for anything else.
func parsePiece(key string) (p piece, ok bool) {
	parts := strings.Split(strings.Replace(key, "/", "", 1), "-")
	if len(parts) != 3 {
		return piece{}, false
	}
	var err error
	if p.Sum, err = objects.ParseSum(parts[0]); err != nil {
		return piece{}, false
	}
	if p.Size, err = strconv.ParseInt(parts[1], 10, 64); err != nil || p.Size <= 0 {
		return piece{}, false
	}
	if p.Run.UnmarshalText([]byte(parts[2])) != nil {
		return piece{}, false
	}
	return p, p.key() == key
}

// data is the prefix of all pieces.
func (pl place) data() string { return pl.dir + "data/" }

// putPiece stores data as a piece of the run.
func (pl place) putPiece(ctx context.Context, run runID, c content, data []byte) (piece, error) {
	p := piece{content: c, Run: run}
	var err error
	p.ETag, err = pl.s3.put(ctx, pl.data()+p.key(), data, false)
	return p, err
}

// getPiece reads a piece into buf and checks it; damaged bytes are read once
// more, for those that were damaged on the way.
//
// Errors: ErrCorrupt when it is not there or not what was stored.
func (pl place) getPiece(ctx context.Context, p piece, buf []byte) ([]byte, error) {
	for range 2 {
		data, _, err := pl.s3.get(ctx, pl.data()+p.key(), buf, maxPiece)
		switch {
		case wire.CodeOf(err) == wire.CodeNotFound && wire.AsError(err).Field == "":
			return nil, wire.Errorf(wire.CodeCorrupt, "a piece of the backup is missing in S3: %s", pl.data()+p.key())
		case err != nil:
			return nil, err
		case contentOf(data) == p.content:
			return data, nil
		}
	}
	return nil, wire.Errorf(wire.CodeCorrupt, "S3 gives other bytes than were stored: %s", pl.data()+p.key())
}
