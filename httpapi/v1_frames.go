package httpapi

import (
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// frameList is how many frames a page holds when ?limit= does not say; each
// costs Redis a few calls.
const frameList = 100

// destination is where a request's frames are.
type destination struct {
	source  wire.SourceID
	mapping *wire.Mapping
	*frames.Cluster
}

// destinationOf finds the data path of the source in the path, on the given
// node tag, else on one that this node carries, else on the first.
func (s *Server) destinationOf(c *gin.Context, tag wire.NodeTag) (destination, error) {
	source, err := pathName[wire.SourceID](c, "source")
	if err := firstError(err, checkOptional("node_tag", tag)); err != nil {
		return destination{}, err
	}
	v := s.cfg.Store.View()
	m, err := s.nearest(v, source, tag)
	if err != nil {
		return destination{}, err
	}
	path, err := s.paths.to(v, m.Cluster)
	return destination{source, m, path}, err
}

func (s *Server) nearest(v *state.View, source wire.SourceID, tag wire.NodeTag) (*wire.Mapping, error) {
	if tag != "" {
		return mappingIn(v, source, tag)
	}
	list, err := mappingsOf(v, source)
	if err != nil {
		return nil, err
	}
	if node, found := v.Node(s.cfg.Node); found {
		for _, m := range list {
			if node.Carries(m.NodeTag) {
				return m, nil
			}
		}
	}
	return list[0], nil
}

func (s *Server) v1ListFrames(c *gin.Context) (reply, error) {
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	limit, err := parseUint(q, "limit", frameList, 1, wire.MaxPage)
	if err != nil {
		return reply{}, err
	}
	to, err := s.destinationOf(c, wire.NodeTag(q.Get("node_tag")))
	if err != nil {
		return reply{}, err
	}
	hold, err := s.listings.take(1)
	if err != nil {
		return reply{}, err
	}
	defer hold.release()
	list, next, err := to.List(c.Request.Context(), to.source, q.Get("cursor"), int(limit))
	return reply{body: wire.FramePage{Frames: emptyNotNull(list), Next: next}}, err
}

func (s *Server) v1GetFrame(c *gin.Context) (reply, error) {
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	key := c.Param("key")
	if err := checkKey(wire.SourceID(c.Param("source")), key); err != nil {
		return reply{}, err
	}
	to, err := s.destinationOf(c, wire.NodeTag(q.Get("node_tag")))
	if err != nil {
		return reply{}, err
	}
	return reply{written: true}, s.getFrame(c, to, key)
}

// getFrame answers with the value of a key. Its memory is reserved before it is
// read, and again where a larger one took its place meanwhile.
func (s *Server) getFrame(c *gin.Context, to destination, key string) error {
	ctx := c.Request.Context()
	size, err := to.Footprint(ctx, key)
	if err != nil {
		return err
	}
	hold, err := s.budget.take(size)
	if err != nil {
		return err
	}
	defer hold.release()
	batch, err := to.Get(ctx, key)
	if err != nil {
		return err
	}
	defer batch.Release()
	frame := batch.Frames[0]
	if frame.Missing {
		return wire.Errorf(wire.CodeNotFound, "there is no %s", clip(key))
	}
	if err := hold.resize(max(size, int64(len(frame.Data)))); err != nil {
		return err
	}
	writeBody(c, 0, contentRaw, frame.Data)
	return nil
}

// checkKey refuses a key that is not one of the source's.
func checkKey(source wire.SourceID, key string) error {
	k, _, isData := wire.ParseDataKey(key)
	if !isData {
		var isCount bool
		if k, isCount = wire.ParseCountKey(key); !isCount {
			return wire.InField("key", wire.Errorf(wire.CodeInvalidArgument, "%q is no frame key: give <source>?<updates>?<restarts>__<n>__<size>, percent-encoded", clip(key)))
		}
	}
	if k.Source() != source {
		return wire.InField("key", notOf(k, source))
	}
	return nil
}

func notOf(k wire.FrameKey, source wire.SourceID) error {
	return wire.Errorf(wire.CodeInvalidArgument, "%q belongs to source %q, not %q", k, k.Source(), clip(string(source)))
}

func (s *Server) v1PutFrame(c *gin.Context) (reply, error) {
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	key, size, err := parseFrame(wire.SourceID(c.Param("source")), c.Param("frame"), c.Param("size"))
	if err != nil {
		return reply{}, err
	}
	count, err := parseUint(q, "count", 0, 1, wire.MaxDecrementBy)
	if err != nil {
		return reply{}, err
	}
	to, err := s.destinationOf(c, wire.NodeTag(q.Get("node_tag")))
	if err != nil {
		return reply{}, err
	}
	if count == 0 {
		count = refCount(to.mapping.Metadata)
	}
	return s.putFrame(c, to, key, size, count)
}

// putFrame stores the body and the count in one step.
func (s *Server) putFrame(c *gin.Context, to destination, key wire.FrameKey, size string, count uint64) (reply, error) {
	hold := &share{from: s.budget}
	defer hold.release()
	body, err := readFrame(c, hold)
	if err != nil {
		return reply{}, err
	}
	if len(body) == 0 {
		return reply{}, wire.Errorf(wire.CodeMalformed, "the body is empty: send the frame")
	}
	err = to.Put(c.Request.Context(), []frames.Pair{
		{Key: key.Data(size), Value: body},
		{Key: key.Count(), Value: fmt.Append(nil, count)},
	}, frames.PutOptions{})
	if err != nil {
		return reply{}, err
	}
	return created(wire.PutFrame{
		Keys: []string{key.Data(size), key.Count()},
		Node: to.mapping.NodeTag, To: to.mapping.Cluster, Count: int64(count),
	})
}

// parseFrame reads {frame}, which is P__n, and {size}.
func parseFrame(source wire.SourceID, frame, size string) (wire.FrameKey, string, error) {
	key, isFrame := wire.ParseCountKey("ref__" + frame)
	if !isFrame {
		return key, "", wire.InField("frame", wire.Errorf(wire.CodeInvalidArgument, "%q is no frame: give <source>?<updates>?<restarts>__<n>, percent-encoded", clip(frame)))
	}
	if err := frames.CheckSizes(size); err != nil {
		return key, "", wire.InField("size", err)
	}
	if key.Source() != source {
		return key, "", wire.InField("frame", notOf(key, source))
	}
	return key, size, nil
}

// refCount is the mapping's "ref_count", 1 where it has none.
func refCount(metadata json.RawMessage) uint64 {
	var m struct {
		RefCount uint64 `json:"ref_count"`
	}
	if json.Unmarshal(metadata, &m) != nil || m.RefCount < 1 || m.RefCount > wire.MaxDecrementBy {
		return 1
	}
	return m.RefCount
}

func (s *Server) v1Decrement(c *gin.Context, in *wire.DecrementFrames) (reply, error) {
	source := wire.SourceID(c.Param("source"))
	if len(in.Decrements) == 0 {
		return reply{}, nothing("decrements")
	}
	if err := frames.CheckDecrements(source, in.Decrements); err != nil {
		return reply{}, err
	}
	to, token, err := s.destinationFor(c, "decr", in.NodeTag)
	if err != nil {
		return reply{}, err
	}
	results, err := to.Decrement(c.Request.Context(), token, in.Decrements)
	c.Set(changed, err == nil)
	return reply{body: &wire.DecrementResults{Results: results}}, err
}

func (s *Server) v1Retain(c *gin.Context, in *wire.RetainFrames) (reply, error) {
	if len(in.Uses) == 0 {
		return reply{}, nothing("uses")
	}
	if err := frames.CheckUses(wire.SourceID(c.Param("source")), in.Uses); err != nil {
		return reply{}, err
	}
	to, token, err := s.destinationFor(c, "retain", in.NodeTag)
	if err != nil {
		return reply{}, err
	}
	used, err := to.Retain(c.Request.Context(), token, in.Uses)
	c.Set(changed, err == nil)
	return reply{body: wire.UseResults{Results: used}}, err
}

func nothing(field string) error {
	return wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, "there are none: give 1 to %d", wire.MaxDecrements))
}

// destinationFor is destinationOf for a batch, with its token.
func (s *Server) destinationFor(c *gin.Context, what string, tag wire.NodeTag) (destination, wire.RequestID, error) {
	key, err := requestID(c)
	if err != nil {
		return destination{}, "", err
	}
	to, err := s.destinationOf(c, tag)
	if err != nil {
		return destination{}, "", err
	}
	token, err := batchToken(key, what+"/"+string(to.source), tag)
	return to, token, err
}

// batchToken is the token under which Redis remembers a batch: made of the
// caller's key and of where the caller asked it to go. The batch itself is in
// what Redis remembers. Without a key it is one that nobody has.
func batchToken(key wire.RequestID, what string, where any) (wire.RequestID, error) {
	if key == "" {
		return wire.RequestID(rand.Text()), nil
	}
	return derivedID(key, what, where)
}
