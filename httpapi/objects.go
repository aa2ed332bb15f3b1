package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Objects opens FrameDBs; pool.Pool is one.
type Objects interface {
	// Store gives the objects of a FrameDB. It always succeeds: what is wrong
	// with the ID, the methods tell.
	Store(wire.FrameDBID) *objects.Store
}

const (
	framedbsPath = "/v1/framedbs/"
	objectsPath  = "/objects/"
)

// objectAt is the object that a path names.
type objectAt struct {
	store *objects.Store
	key   objects.Key
}

// objectOf takes the key from the path, which net/http has percent-decoded
// once. gin's own parameter may have been decoded as a query, where '+' is a
// space.
func (s *Server) objectOf(c *gin.Context) (objectAt, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return objectAt{}, err
	}
	key := objects.Key(strings.TrimPrefix(c.Request.URL.Path, framedbsPath+string(id)+objectsPath))
	if err := key.Validate(); err != nil {
		return objectAt{}, err
	}
	return objectAt{s.cfg.Objects.Store(id), key}, nil
}

// ofObject names what is at fault as an HTTP caller spells it, and tells an
// object that is not there from a FrameDB that is not.
func ofObject(err error) error {
	if err == nil || wire.CodeOf(err) == wire.CodeInternal {
		return err // a foreign error stays what it is
	}
	e := respell(err, map[string]string{
		"size": "Content-Length", "checksum": wire.HeaderChecksum, "ttl": wire.HeaderTTL,
		"content_type": "Content-Type", "user": wire.HeaderMetaPrefix + "*",
	})
	if e.Code == wire.CodeNotFound && e.Field == "" {
		missing := *e
		missing.Field = "key"
		return &missing
	}
	return e
}

func (s *Server) v1ListObjects(c *gin.Context) (reply, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return reply{}, err
	}
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	limit, err := parseUint(q, "limit", objects.MaxPage, 1, objects.MaxPage)
	if err != nil {
		return reply{}, err
	}
	hold, err := s.objectListings.take(1)
	if err != nil {
		return reply{}, err
	}
	defer hold.release()
	page, err := s.cfg.Objects.Store(id).List(c.Request.Context(), objects.ListOptions{
		Prefix: q.Get("prefix"), Cursor: q.Get("cursor"), Limit: int(limit),
	})
	page.Objects = emptyNotNull(page.Objects)
	return reply{body: page}, err
}

func (s *Server) v1HeadObject(c *gin.Context) (reply, error) {
	at, err := s.objectOf(c)
	if err != nil {
		return reply{}, err
	}
	ask, err := getOptions(c.Request)
	if err != nil {
		return reply{}, err
	}
	info, err := at.store.Stat(c.Request.Context(), at.key)
	if err != nil {
		return reply{}, ofObject(err)
	}
	if err := (objects.Condition{IfMatch: ask.IfMatch}).Check(true, info.Sum); err != nil || ask.neverMatches {
		return reply{}, noMatch()
	}
	objectHeaders(c.Writer.Header(), &info)
	if ask.unless.has(info.Sum) {
		return emptyReply(c, http.StatusNotModified)
	}
	c.Writer.Header().Set("Content-Length", strconv.FormatInt(info.Size, 10))
	return emptyReply(c, http.StatusOK)
}

func emptyReply(c *gin.Context, status int) (reply, error) {
	c.Writer.WriteHeader(status)
	c.Writer.WriteHeaderNow()
	return reply{written: true}, nil
}

func (s *Server) v1DeleteObject(c *gin.Context) (reply, error) {
	at, err := s.objectOf(c)
	if err != nil {
		return reply{}, err
	}
	cond, err := conditionOf(c.Request)
	if err == nil && cond.IfAbsent {
		err = badHeader("If-None-Match", "nothing can be deleted if it is absent: leave it out")
	}
	if err != nil {
		return reply{}, err
	}
	if err := at.store.Delete(c.Request.Context(), at.key, cond); err != nil {
		return reply{}, ofObject(err)
	}
	return emptyReply(c, http.StatusNoContent)
}

func (s *Server) v1PutObject(c *gin.Context) (reply, error) {
	at, err := s.objectOf(c)
	if err != nil {
		return reply{}, err
	}
	if c.Request.Header[wire.HeaderCopySource] != nil {
		return s.copyObject(c, at)
	}
	opts, err := putOptions(c.Request)
	if err != nil {
		return reply{}, err
	}
	hold, err := s.transfers.take(uploadMemory(c.Request.ContentLength))
	if err != nil {
		return reply{}, err
	}
	defer hold.release()
	if err := refuseEarly(c.Request, at, opts.Condition); err != nil {
		return reply{}, err
	}
	body := newUpload(c)
	if body.trailer {
		opts.ChecksumAtEnd = body.checksum
	}
	info, err := at.store.Put(c.Request.Context(), at.key, body, opts)
	return objectStored(c, info, err)
}

// objectStored answers an upload or a copy, for which there is time again
// however long it took.
func objectStored(c *gin.Context, info objects.Info, err error) (reply, error) {
	http.NewResponseController(unwrap(c.Writer)).SetWriteDeadline(time.Now().Add(writeTimeout))
	if err != nil {
		return reply{}, ofObject(err)
	}
	c.Set(changed, true)
	c.Header("ETag", info.Sum.ETag())
	if info.Created.Equal(info.Modified) {
		return created(info)
	}
	return ok(info)
}

// eagerObject is the upload up to which a condition is checked only in the step
// that stores it. Before a larger one is sent it is looked at first.
const eagerObject = 64 << 10

// refuseEarly spares the caller an upload that would be refused behind it.
func refuseEarly(r *http.Request, at objectAt, cond objects.Condition) error {
	small := r.ContentLength >= 0 && r.ContentLength <= eagerObject && r.Header["Expect"] == nil
	if small || cond.Always() {
		return nil
	}
	info, err := at.store.Stat(r.Context(), at.key)
	found := err == nil
	if !found && (!errors.Is(err, wire.ErrNotFound) || wire.AsError(err).Field != "") {
		return err
	}
	return cond.Check(found, info.Sum)
}

// copyObject copies from the object that a header names. Nothing is read of a
// caller, so there is no pace that it has to keep.
func (s *Server) copyObject(c *gin.Context, to objectAt) (reply, error) {
	from, err := s.copySource(c.Request)
	if err != nil {
		return reply{}, err
	}
	cond, err := conditionOf(c.Request)
	if err != nil {
		return reply{}, err
	}
	hold, err := s.transfers.take(uploadMemory(-1) + downloadMemory)
	if err != nil {
		return reply{}, err
	}
	defer hold.release()
	http.NewResponseController(unwrap(c.Writer)).SetWriteDeadline(time.Time{})
	info, err := objects.Copy(c.Request.Context(), to.store, to.key, from.store, from.key, cond)
	return objectStored(c, info, err)
}

func (s *Server) v1GetObject(c *gin.Context) (reply, error) {
	at, err := s.objectOf(c)
	if err != nil {
		return reply{}, err
	}
	ask, err := getOptions(c.Request)
	if err != nil {
		return reply{}, err
	}
	hold, err := s.transfers.take(leastMemory)
	if err != nil {
		return reply{}, err
	}
	defer hold.release()
	got, err := at.open(c.Request.Context(), ask)
	if err != nil {
		if errors.Is(err, wire.ErrRange) {
			c.Header("Content-Range", "bytes */"+strconv.FormatInt(got.info.Size, 10))
		}
		return reply{}, ofObject(err)
	}
	if got.reader == nil {
		objectHeaders(c.Writer.Header(), &got.info)
		return emptyReply(c, http.StatusNotModified)
	}
	defer got.reader.Close()
	if err := hold.resize(min(got.info.Size+leastMemory, downloadMemory)); err != nil {
		return reply{}, err
	}
	return reply{written: true}, ofObject(got.send(c))
}
