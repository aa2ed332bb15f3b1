// Package spool keeps records on disk, in order, until whoever drains them says
// that they are done: for frames whose FrameDB is down or slow, and for those
// that have to be on disk before they are acknowledged.
//
// A Log is a directory of segment files and one file with the position up to
// which records are done. What was appended with success is there after
// kill -9, and after a power cut, too, once it was synced. What a crash left
// half-written is cut off; what is damaged is reported, skipped record by
// record, and never handed out.
package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Defaults of Config.
const (
	DefaultSegmentBytes = 64 << 20
	DefaultMaxBytes     = 4 << 30
	// DefaultMinFree is left to others on the disk: to Raft's log most of all.
	DefaultMinFree = 256 << 20
)

// Config says how a log is kept.
type Config struct {
	// SegmentBytes is from when on a new file is begun. Space comes back by
	// whole files; smaller ones cost more of them. Default 64 MiB, and at most
	// an eighth of MaxBytes.
	SegmentBytes int64
	// MaxBytes bounds the log on disk. Default 4 GiB.
	MaxBytes int64
	// MaxAge is how old the oldest record may be that is not done; then no more
	// is taken until it is. Zero is without bound. Nothing is ever dropped for
	// its age.
	MaxAge time.Duration
	// MinFree is how many bytes of the disk stay free. Default 256 MiB;
	// negative is none.
	MinFree int64
	// SyncEvery is how long a record may be unsynced that was to be synced. Zero
	// syncs before Append returns. Longer is faster, and a power cut (not the
	// death of the process) loses what was acknowledged since the last Sync.
	SyncEvery time.Duration
	// Quota bounds this log and others together; nil is without bound.
	Quota *Quota
	// OnDamage hears of each piece of damage once, on the goroutine that found
	// it, and must not call the Log. Nil tells nobody.
	OnDamage func(Damage)
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	open opener // of files; tests make it fail
	free func(dir string) (int64, error)
}

func (c *Config) applyDefaults() {
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = DefaultSegmentBytes
	}
	c.SegmentBytes = min(c.SegmentBytes, max(c.MaxBytes/8, 1))
	if c.MinFree == 0 {
		c.MinFree = DefaultMinFree
	}
	if c.OnDamage == nil {
		c.OnDamage = func(Damage) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.open == nil {
		c.open = openFile
	}
	if c.free == nil {
		c.free = freeBytes
	}
}

// Log is one ordered queue on disk. Append, Sync and the questions may be called
// by any goroutine; Read, Rewind and Ack by one at a time.
type Log struct {
	cfg Config
	dir string

	appending sync.Mutex // held by Append and Sync, also while they write
	lastSync  time.Time  // guarded by appending
	dirty     bool       // guarded by appending: the newest segment has what is not synced

	mu       sync.Mutex // never held while something is written
	segments []*segment // guarded by mu; oldest first; the last one grows
	next     uint64     // guarded by mu: index of the next record
	bytes    int64      // guarded by mu: of all segments
	read     position   // guarded by mu: of the next record to read
	acked    position   // guarded by mu: of the first record that is not done
	oldest   time.Time  // guarded by mu: when that one was appended
	acks     *ackFile
	closed   bool // guarded by mu
}

// position is where a record is. Its segment is nil when there was none yet.
type position struct {
	index   uint64
	segment *segment
	offset  int64
}

// Open opens the log in a directory, which is made if it is not there. What a
// crash left half-written is cut off. Nobody else may have it open.
func Open(dir string, cfg Config) (*Log, error) {
	cfg.applyDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", diskError(err))
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	l := &Log{cfg: cfg, dir: dir, lastSync: cfg.Now()}
	if err := l.recover(); err != nil {
		l.closeFiles()
		return nil, fmt.Errorf("spool %s: %w", dir, err)
	}
	return l, nil
}

// Close syncs and closes the log. When all is done, its directory is removed.
func (l *Log) Close() error {
	err := l.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.cfg.Quota.release(l.bytes)
	l.closeFiles()
	if err == nil && l.acked.index == l.next {
		for _, s := range l.segments {
			os.Remove(s.path)
		}
		os.Remove(filepath.Join(l.dir, ackName))
		os.Remove(l.dir)
	}
	return err
}

func (l *Log) closeFiles() {
	for _, s := range l.segments {
		s.file.Close()
	}
	if l.acks != nil {
		l.acks.file.Close()
	}
}

// Depth is how much is not done.
type Depth struct {
	Records uint64
	// Bytes on disk, done records among them whose file is still needed.
	Bytes int64
	// Oldest is when the oldest of them was appended; zero when there is none.
	Oldest time.Time
}

// Depth tells how much is not done.
func (l *Log) Depth() Depth {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := Depth{Records: l.next - l.acked.index, Bytes: l.bytes}
	if d.Records > 0 {
		d.Oldest = l.oldest
	}
	return d
}

// Empty reports whether all is done.
func (l *Log) Empty() bool { return l.Depth().Records == 0 }
