package redisstore

import (
	"context"
	"encoding/hex"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Master gives the client of the master of this moment; frames.Cluster is one.
// The client may be closed when the master changes: it is asked for again.
type Master interface {
	Redis(ctx context.Context) (*redis.Client, error)
}

// Config says which Redis holds the objects and how it is used.
type Config struct {
	Master Master
	// Exclusive says that no other program writes the keys of objects. A value
	// that is not what was stored is then damage (ErrCorrupt). Without it, it
	// is what another program put there, and is served as it is, as Foreign.
	Exclusive bool
	// UploadTTL is how long an upload may stand still before Redis drops what
	// there is of it. Default 1 h.
	UploadTTL time.Duration
	// ReadGrace is how long the parts of a replaced or deleted object stay for
	// those who read them just now. They cost memory. Default 1 min. Objects
	// up to PartSize go at once, and who reads them hears ErrConflict.
	ReadGrace time.Duration
	// PartSize is the largest value of one key in bytes, a multiple of
	// BlockSize, and the largest object that is one key. Default 64 MiB.
	PartSize int64
	Logger   *slog.Logger // nil is silent
}

// BlockSize is how much is sent, read and checked at once, in bytes.
const BlockSize = 4 << 20

const defaultPartSize = 64 << 20

// Backend keeps objects in one Redis. It starts no goroutine.
type Backend struct {
	cfg  Config
	bufs sync.Pool // of *[]byte with the capacity of a block and one byte

	mu        sync.Mutex
	sweepFrom uint64 // SCAN's cursor of the next sweep; under mu
}

var _ objects.Backend = (*Backend)(nil)

// New makes the backend; it does not dial. It panics when PartSize is not a
// multiple of BlockSize.
func New(cfg Config) *Backend {
	if cfg.UploadTTL == 0 {
		cfg.UploadTTL = time.Hour
	}
	if cfg.ReadGrace == 0 {
		cfg.ReadGrace = time.Minute
	}
	if cfg.PartSize == 0 {
		cfg.PartSize = defaultPartSize
	}
	if cfg.PartSize < 0 || cfg.PartSize%BlockSize != 0 {
		panic("redisstore: PartSize is not a multiple of BlockSize")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Backend{cfg: cfg}
}

// Close does nothing: the connections are the Master's.
func (b *Backend) Close() error { return nil }

// The keys. The bytes of an object up to PartSize are the string under the
// object's own key, where other programs find them.
const (
	reserved   = "framedb:"
	metaPrefix = wire.ObjectPrefix  // + key: hash, what is known of the object
	partPrefix = reserved + "part:" // + version:n: string, bytes of an upload or of a large object
	donePrefix = reserved + "done:" // + version: what the step of this version answered
)

func metaKey(key objects.Key) string { return metaPrefix + string(key) }

func partKey(version string, n int) string { return partPrefix + version + ":" + strconv.Itoa(n) }

// checkKey keeps objects away from this package's own keys.
func checkKey(key objects.Key) error {
	if strings.HasPrefix(string(key), reserved) {
		return wire.InField("key", wire.Errorf(wire.CodeInvalidArgument, "keys that begin with %q are reserved in Redis", reserved))
	}
	return nil
}

func notFound(key objects.Key) error {
	return wire.Errorf(wire.CodeNotFound, "there is no object %q", key)
}

func notBytes(key objects.Key) error {
	return wire.Errorf(wire.CodeConflict, "the key %q holds no string but another type of Redis", key)
}

func hexSum(s string) (sum objects.Sum, ok bool) {
	n, err := hex.Decode(sum[:], []byte(s))
	return sum, err == nil && n == len(sum)
}
