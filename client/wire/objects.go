package wire

// Headers of /v1/framedbs/{framedb_id}/objects, in Go's canonical spelling.
const (
	// HeaderChecksum is the checksum of an object's bytes: xxh3-128 (seed 0), 32
	// hexadecimal digits, most significant first. Of an upload it may come as a
	// header or as a trailer. The ETag is the same in quotes.
	HeaderChecksum = "X-Framedb-Checksum"
	// HeaderTTL is after how long an uploaded object goes, such as 90s or 24h,
	// or plain seconds.
	HeaderTTL = "X-Framedb-Ttl"
	// HeaderMetaPrefix begins the headers of the writer's own metadata. What
	// follows is the name, in any case; it is kept in lower case.
	HeaderMetaPrefix = "X-Framedb-Meta-"
	// HeaderCopySource makes a PUT without a body a copy: <framedb_id>/<key>,
	// the key percent-encoded as in a path.
	HeaderCopySource = "X-Framedb-Copy-Source"
	// HeaderCreated, HeaderModified and HeaderExpires are times of an object, in
	// RFC 3339 with milliseconds.
	HeaderCreated  = "X-Framedb-Created"
	HeaderModified = "X-Framedb-Modified"
	HeaderExpires  = "X-Framedb-Expires"
	// HeaderForeign is "true" on an object that another program wrote with the
	// database's own commands.
	HeaderForeign = "X-Framedb-Foreign"
)

// TimeFormat is how times of objects are written in headers.
const TimeFormat = "2006-01-02T15:04:05.000Z07:00"
