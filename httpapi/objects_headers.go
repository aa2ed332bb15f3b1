package httpapi

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// badHeader names a header at fault.
func badHeader(name, format string, args ...any) error {
	return wire.InField(name, wire.Errorf(wire.CodeInvalidArgument, format, args...))
}

// oneHeader is a header that may stand once.
func oneHeader(h http.Header, name string) (string, error) {
	if len(h[name]) > 1 {
		return "", badHeader(name, "it stands twice: give it once")
	}
	return h.Get(name), nil
}

// putOptions reads how an upload is to be stored.
func putOptions(r *http.Request) (opts objects.PutOptions, err error) {
	if r.Header["Content-Range"] != nil {
		return opts, badHeader("Content-Range", "a part of an object cannot be replaced: send the whole")
	}
	if opts.Condition, err = conditionOf(r); err != nil {
		return opts, err
	}
	if r.ContentLength >= 0 {
		if opts.Size = &r.ContentLength; r.ContentLength > objects.MaxSize {
			return opts, tooLarge(objects.MaxSize)
		}
	}
	sum, err := oneHeader(r.Header, wire.HeaderChecksum)
	if err != nil {
		return opts, err
	}
	if sum != "" {
		if opts.Checksum, err = checksumOf(sum); err != nil {
			return opts, err
		}
	}
	if opts.ContentType, err = oneHeader(r.Header, "Content-Type"); err != nil {
		return opts, err
	}
	if opts.TTL, err = objectTTL(r.Header); err != nil {
		return opts, err
	}
	opts.User, err = metaOf(r.Header)
	return opts, err
}

func checksumOf(s string) (*objects.Sum, error) {
	sum, err := objects.ParseSum(strings.TrimSpace(s))
	if err != nil {
		return nil, wire.InField(wire.HeaderChecksum, wire.Errorf(wire.CodeInvalidArgument, "%q is no xxh3-128: give 32 hexadecimal digits", clip(s)))
	}
	return &sum, nil
}

// objectTTL reads a duration, or plain seconds; 0 when there is none.
func objectTTL(h http.Header) (time.Duration, error) {
	s, err := oneHeader(h, wire.HeaderTTL)
	if s == "" || err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if seconds, plain := strconv.ParseUint(s, 10, 31); plain == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < time.Millisecond {
		return 0, badHeader(wire.HeaderTTL, "%q is no time to live: give 90s, 24h or the like, or whole seconds, at least 1ms", clip(s))
	}
	return d, nil
}

// metaOf collects the writer's own metadata.
func metaOf(h http.Header) (map[string]string, error) {
	var user map[string]string
	for name := range h {
		short, own := strings.CutPrefix(name, wire.HeaderMetaPrefix)
		if !own {
			continue
		}
		value, err := oneHeader(h, name)
		if err != nil {
			return nil, err
		}
		if user == nil {
			user = map[string]string{}
		}
		user[strings.ToLower(short)] = value
	}
	return user, nil
}

// conditionOf reads what must hold for a change.
func conditionOf(r *http.Request) (cond objects.Condition, err error) {
	if r.Header["If-Unmodified-Since"] != nil {
		return cond, badHeader("If-Unmodified-Since", "times are not compared: use If-Match with the object's ETag")
	}
	unless, err := etagsOf(r.Header, "If-None-Match")
	if err != nil {
		return cond, err
	}
	if unless != nil && !unless.any {
		return cond, badHeader("If-None-Match", "only * can hold for a change, which is that there is no such object")
	}
	match, err := etagsOf(r.Header, "If-Match")
	if err != nil {
		return cond, err
	}
	cond.IfAbsent = unless != nil
	if match == nil {
		return cond, nil
	}
	cond.IfPresent, cond.IfMatch = match.any, match.strong
	if !match.any && len(match.strong) == 0 {
		return cond, noMatch() // tags that no object of ours ever had
	}
	if cond.IfAbsent {
		return cond, badHeader("If-Match", "it cannot hold together with If-None-Match: give one of them")
	}
	return cond, nil
}

// getAsk is what a GET or HEAD asks for.
type getAsk struct {
	objects.GetOptions
	// neverMatches says that If-Match names only tags that no object ever had.
	neverMatches bool
	unless       *etags // If-None-Match
	ifRange      *etags
}

func getOptions(r *http.Request) (ask getAsk, err error) {
	if r.Header["If-Unmodified-Since"] != nil {
		return ask, badHeader("If-Unmodified-Since", "times are not compared: use If-Match with the object's ETag")
	}
	match, err := etagsOf(r.Header, "If-Match")
	if err != nil {
		return ask, err
	}
	if match != nil && !match.any {
		ask.IfMatch, ask.neverMatches = match.strong, len(match.strong) == 0
	}
	if ask.unless, err = etagsOf(r.Header, "If-None-Match"); err != nil {
		return ask, err
	}
	if r.Method == http.MethodHead {
		return ask, nil // a range is for GET only
	}
	if ask.Range, err = rangeOf(r.Header.Get("Range")); err != nil {
		return ask, err
	}
	if since := r.Header.Get("If-Range"); since != "" && ask.Range != nil {
		if ask.ifRange, err = etagsOf(r.Header, "If-Range"); err != nil {
			ask.ifRange, err = &etags{}, nil // a date, which never holds here: the whole object is right
		}
	}
	return ask, err
}

// copySource reads the object that is to be copied.
func (s *Server) copySource(r *http.Request) (objectAt, error) {
	for name := range r.Header {
		if name == wire.HeaderTTL || name == wire.HeaderChecksum || strings.HasPrefix(name, wire.HeaderMetaPrefix) {
			return objectAt{}, badHeader(name, "a copy keeps the bytes, the metadata and the time of its source: leave it out")
		}
	}
	if r.ContentLength != 0 {
		return objectAt{}, wire.Errorf(wire.CodeMalformed, "a copy has no body: leave out the body, or %s", wire.HeaderCopySource)
	}
	text, err := oneHeader(r.Header, wire.HeaderCopySource)
	if err != nil {
		return objectAt{}, err
	}
	id, escaped, _ := strings.Cut(text, "/")
	key, err := url.PathUnescape(escaped)
	if err == nil {
		err = firstError(wire.FrameDBID(id).Validate(), objects.Key(key).Validate())
	}
	if err != nil {
		return objectAt{}, badHeader(wire.HeaderCopySource, "%q is not <framedb_id>/<percent-encoded key>: %v", clip(text), err)
	}
	return objectAt{s.cfg.Objects.Store(wire.FrameDBID(id)), objects.Key(key)}, nil
}

// objectHeaders tells what is known of an object. A browser that opens one runs
// nothing of it: it would run as a page of the agent.
func objectHeaders(h http.Header, info *objects.Info) {
	h.Set("ETag", info.Sum.ETag())
	h.Set(wire.HeaderChecksum, info.Sum.String())
	h.Set("Accept-Ranges", "bytes")
	h.Set("Cache-Control", "no-cache") // it may be replaced at any time: ask again with the ETag
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h["Content-Type"] = nil // none is guessed
	if info.ContentType != "" {
		h.Set("Content-Type", info.ContentType)
	}
	for name, value := range info.User {
		h.Set(wire.HeaderMetaPrefix+name, value)
	}
	if info.Foreign {
		h.Set(wire.HeaderForeign, "true")
	}
	if !info.Modified.IsZero() {
		h.Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	}
	for name, at := range map[string]time.Time{wire.HeaderCreated: info.Created, wire.HeaderModified: info.Modified, wire.HeaderExpires: info.Expires} {
		if !at.IsZero() {
			h.Set(name, at.UTC().Format(wire.TimeFormat))
		}
	}
}
