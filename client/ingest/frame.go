// Package ingest holds what producers of frames and the agent share: the frame
// on its way in, the acknowledgement that a producer asks for, and the stream of
// frames that goes over HTTP, the unix socket, pipes and Redis queues alike.
package ingest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// MaxBytes bounds one frame in all its sizes together; one size has at most
// wire.MaxFrame.
const MaxBytes = 512 << 20

// MaxCount bounds the uses of one frame.
const MaxCount = 1 << 53

// MaxTTL bounds how long a frame may live.
const MaxTTL = 366 * 24 * time.Hour

// Frame is one frame on its way in.
type Frame struct {
	// Key names the frame; its source must be the one that it is sent to. The
	// zero key asks the agent for one, which the Result has.
	Key wire.FrameKey
	// ID makes a retry store nothing twice. Empty is the key; without a key, too,
	// a retry is another frame. The same ID with other bytes is another frame.
	ID wire.RequestID
	// Count is how many uses the frame has, nil as the source is configured. At 0
	// it has no reader and nothing is stored.
	Count *int64
	// TTL is how long the frame lives, in whole milliseconds; 0 is as the source
	// is configured.
	TTL time.Duration
	// Sizes are the data, in the order that they are stored in.
	Sizes []Size
}

// Size is a frame in one size.
type Size struct {
	Name string // "<W>x<H>"
	Data []byte
}

// Bytes is how much data the frame has.
func (f *Frame) Bytes() int {
	n := 0
	for _, s := range f.Sizes {
		n += len(s.Data)
	}
	return n
}

// Check reports whether the frame can be stored for a source.
//
// Errors: ErrInvalidArgument with the field named; ErrTooLarge.
func (f *Frame) Check(source wire.SourceID) error {
	if f.Key != (wire.FrameKey{}) {
		if k, ok := wire.ParseFrame(f.Key.String()); !ok || k != f.Key {
			return refuse("frame", "%.300q is no frame key: give <source>?<updates>?<restarts>__<number>", f.Key.String())
		} else if k.Source() != source {
			return refuse("frame", "%.300q belongs to source %q, not to %q", f.Key.String(), k.Source(), source)
		}
	}
	if err := f.ID.Validate(); err != nil {
		return wire.InField("id", err)
	}
	switch {
	case f.Count != nil && (*f.Count < 0 || *f.Count > MaxCount):
		return refuse("count", "%d is out of range: give 0 to %d", *f.Count, int64(MaxCount))
	case f.TTL < 0 || f.TTL > MaxTTL || f.TTL > 0 && f.TTL < time.Millisecond:
		return refuse("ttl_ms", "%d is out of range: give 0 to %d", f.TTL.Milliseconds(), MaxTTL.Milliseconds())
	case len(f.Sizes) == 0:
		return refuse("sizes", "there is none: give the data of at least one")
	}
	return f.checkSizes()
}

func (f *Frame) checkSizes() error {
	names := make([]string, len(f.Sizes))
	for i, s := range f.Sizes {
		names[i] = s.Name
		switch {
		case len(s.Data) == 0:
			return refuse("sizes", "%.100q has 0 bytes", s.Name)
		case len(s.Data) > wire.MaxFrame:
			return wire.InField("sizes", wire.Errorf(wire.CodeTooLarge, "%.100q has %d bytes: at most %d", s.Name, len(s.Data), wire.MaxFrame))
		case slices.Contains(names[:i], s.Name):
			return refuse("sizes", "%.100q comes twice", s.Name)
		}
	}
	if err := frames.CheckSizes(names...); err != nil {
		return wire.InField("sizes", err)
	}
	if n := f.Bytes(); n > MaxBytes {
		return wire.InField("sizes", wire.Errorf(wire.CodeTooLarge, "the frame has %d bytes: at most %d", n, MaxBytes))
	}
	return nil
}

func refuse(field, format string, args ...any) error {
	return wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, format, args...))
}

// Level is what an acknowledgement says. The zero value asks for what the
// source is configured to.
type Level struct {
	// Promise is the kind.
	Promise Promise
	// Replicas is how many replicas must have the frame, with Replicated.
	Replicas int
}

// Promise is the kind of a level.
type Promise string

// The promises. See docs/promises.md for what each of them survives.
const (
	// Received: the frame is in the agent's memory, and lost when that dies.
	Received Promise = "received"
	// Master: the master of the FrameDB has it, and readers find it.
	Master Promise = "master"
	// Replicated: n replicas have it, too (WAIT n).
	Replicated Promise = "replicated"
	// Durable: it is on the agent's disk, synced, and is on its way; or a FrameDB
	// on disk has committed it.
	Durable Promise = "durable"
)

// MaxReplicas bounds Level.Replicas.
const MaxReplicas = 100

// ParseLevel reads "received", "master", "replicated:<n>" or "durable"; "" is
// the zero level.
//
// Errors: ErrInvalidArgument.
func ParseLevel(s string) (Level, error) {
	kind, number, numbered := strings.Cut(s, ":")
	l := Level{Promise: Promise(kind)}
	if numbered {
		n, err := strconv.Atoi(number)
		if err != nil || strconv.Itoa(n) != number || l.Promise != Replicated {
			n = -1
		}
		l.Replicas = n
	}
	return l, l.Validate()
}

// Validate reports whether the level is one.
//
// Errors: ErrInvalidArgument.
func (l Level) Validate() error {
	switch l.Promise {
	case "", Received, Master, Durable:
		if l.Replicas == 0 {
			return nil
		}
	case Replicated:
		if l.Replicas >= 1 && l.Replicas <= MaxReplicas {
			return nil
		}
	}
	return wire.Errorf(wire.CodeInvalidArgument, "level %.50q is not allowed: give received, master, replicated:<1 to %d> or durable", l, MaxReplicas)
}

func (l Level) String() string {
	if l.Promise != Replicated && l.Replicas == 0 {
		return string(l.Promise)
	}
	return string(l.Promise) + ":" + strconv.Itoa(l.Replicas)
}

// MarshalText gives what String gives.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what ParseLevel reads.
func (l *Level) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLevel(string(text))
	return err
}

// Result is what became of one frame.
type Result struct {
	// Frame is the frame's key, P__n. Of a duplicate it is the key under which
	// the first one was stored.
	Frame string `json:"frame,omitempty"`
	// Level is what was reached: the one that was asked for, or "durable" when
	// the frame waits on the agent's disk because its FrameDB is down or slow.
	Level Level `json:"level,omitzero"`
	// Duplicate is true when the frame was stored by an earlier try.
	Duplicate bool `json:"duplicate,omitempty"`
	// Error is why the frame was not taken; nil when it was.
	Error *wire.Error `json:"error,omitempty"`
}
