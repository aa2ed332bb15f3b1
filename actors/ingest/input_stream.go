package ingest

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// frameField is the field of a stream entry that has the frame.
const frameField = "frame"

// Timing of streams.
const (
	// claimIdle is after how long an entry that another consumer took, and did
	// not acknowledge, is taken from it: its agent is gone, or its FrameDB down
	// without room in the spool.
	claimIdle  = time.Minute
	claimEvery = 15 * time.Second
)

// streamFetcher takes frames from a Redis stream as one consumer of a group:
// entries with a field "frame" in the form of a stream of frames. An entry is
// acknowledged and deleted when its frame is taken. A frame without key and ID
// gets the entry's as its ID, so that an entry which comes again is not stored
// twice.
type streamFetcher struct {
	*Fetcher
	log     *slog.Logger
	joined  bool
	resumed bool      // those that were delivered before are done
	claimed time.Time // when those of others were looked at
	batch   int
}

func (s *streamFetcher) pause() time.Duration { return queuePause }

func (s *streamFetcher) group() string {
	if s.Input.Group == "" {
		return "framedb"
	}
	return s.Input.Group
}

func (s *streamFetcher) consumer() string { return string(s.Service.cfg.Agent) }

func (s *streamFetcher) fetch(ctx context.Context) (int, error) {
	rdb, err := s.Queues.Redis(ctx)
	if err != nil {
		return 0, err
	}
	entries, err := s.read(ctx, rdb)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	return len(entries), s.take(ctx, rdb, entries)
}

// read returns the next entries: first those that were delivered to this
// consumer before, then new ones, and now and then those of consumers that are
// gone.
func (s *streamFetcher) read(ctx context.Context, rdb *redis.Client) ([]redis.XMessage, error) {
	if err := s.join(ctx, rdb); err != nil {
		return nil, err
	}
	if time.Since(s.claimed) > claimEvery {
		entries, _, err := rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: s.Input.Key, Group: s.group(), Consumer: s.consumer(), MinIdle: claimIdle, Start: "0", Count: int64(max(1, s.batch)),
		}).Result()
		if err != nil || len(entries) > 0 {
			return entries, s.rejoin(err)
		}
		s.claimed = time.Now()
	}
	from := ">"
	if !s.resumed {
		from = "0"
	}
	got, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: s.group(), Consumer: s.consumer(), Streams: []string{s.Input.Key, from}, Count: int64(max(1, s.batch)), Block: -1,
	}).Result()
	if errors.Is(err, redis.Nil) || err == nil && len(got) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, s.rejoin(err)
	}
	entries := got[0].Messages
	if !s.resumed && len(entries) == 0 {
		s.resumed = true
		return s.read(ctx, rdb)
	}
	return entries, nil
}

func (s *streamFetcher) join(ctx context.Context, rdb *redis.Client) error {
	if s.joined {
		return nil
	}
	err := rdb.XGroupCreateMkStream(ctx, s.Input.Key, s.group(), "0").Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return err
	}
	s.joined, s.resumed = true, false
	return nil
}

// rejoin has the group made again after an error: it may be gone with a master.
func (s *streamFetcher) rejoin(err error) error {
	if err != nil {
		s.joined = false
	}
	return err
}

// take ingests entries and acknowledges them.
func (s *streamFetcher) take(ctx context.Context, rdb *redis.Client, entries []redis.XMessage) error {
	bytes := 0
	var fs []ingest.Frame
	var ids []string
	var bad []any
	for _, e := range entries {
		ids = append(ids, e.ID)
		text, ok := e.Values[frameField].(string)
		bytes += len(text)
		f, err := ingest.Unmarshal([]byte(text))
		if !ok {
			err = wire.Errorf(wire.CodeMissingField, "the entry has no field %q", frameField)
		}
		if err != nil {
			s.log.Error("an entry of the stream is no frame and is put aside", "entry", e.ID, "err", err)
			bad = append(bad, text)
			continue
		}
		if f.ID == "" && f.Key == (wire.FrameKey{}) {
			f.ID = wire.RequestID("stream:" + e.ID)
		}
		fs = append(fs, f)
	}
	s.batch = batchOf(len(entries), bytes)
	refused, err := s.takeAll(ctx, fs)
	if err != nil {
		s.resumed = false
		return err
	}
	for i, why := range refused {
		s.log.Error("a frame of the stream is refused and put aside", "frame", fs[i].Key, "err", why)
		var b sliceWriter
		fs[i].Write(&b)
		bad = append(bad, []byte(b))
	}
	_, err = rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		if len(bad) > 0 {
			p.LPush(ctx, s.Input.Key+":bad", bad...)
			p.LTrim(ctx, s.Input.Key+":bad", 0, maxBad-1)
		}
		p.XAck(ctx, s.Input.Key, s.group(), ids...)
		p.XDel(ctx, s.Input.Key, ids...)
		return nil
	})
	if err != nil {
		s.resumed = false
	}
	return s.rejoin(err)
}
