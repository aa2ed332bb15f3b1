package ingest

import (
	"sync"
	"time"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
	"github.com/zeebo/xxh3"
)

// A frame that comes without a key gets one from here:
//
//	P = <source>?<spool>?<epoch>, n from 0
//
// The place of the update counter has the number of the agent's spool
// directory, that of the restart counter the start of the agent in Unix
// milliseconds. So keys of two agents, or of two lives of one, never meet.
type numbers struct {
	mu   sync.Mutex
	next uint64 // guarded by mu
	// recent are the keys of frames that came with an ID: a retry gets the same.
	recent map[frames.FrameToken]numbered // guarded by mu
	order  []frames.FrameToken            // guarded by mu: oldest first
}

type numbered struct {
	key wire.FrameKey
	at  time.Time
}

// Bounds of what is remembered.
const (
	recentFor = 10 * time.Minute
	maxRecent = 256
)

// name gives the frame a key if it has none, and its token.
func (s *Service) name(source wire.SourceID, f *ingest.Frame) frames.FrameToken {
	if f.Key != (wire.FrameKey{}) {
		if f.ID == "" {
			return tokenOf(source, f.Key.String(), f)
		}
		return tokenOf(source, "id "+string(f.ID), f)
	}
	s.mu.Lock()
	n := s.numbers[source]
	if n == nil {
		n = &numbers{recent: map[frames.FrameToken]numbered{}}
		s.numbers[source] = n
	}
	s.mu.Unlock()
	key := func(number uint64) wire.FrameKey {
		return wire.NewFrameKey(source, uint64(s.id.Spool), s.id.Epoch, number)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.ID == "" {
		f.Key = key(n.next)
		n.next++
		return tokenOf(source, f.Key.String(), f)
	}
	token := tokenOf(source, "id "+string(f.ID), f)
	now := time.Now()
	if old, ok := n.recent[token]; ok && now.Sub(old.at) < recentFor {
		f.Key = old.key
		return token
	}
	f.Key = key(n.next)
	n.next++
	n.remember(token, numbered{f.Key, now})
	return token
}

func (n *numbers) remember(token frames.FrameToken, what numbered) {
	n.recent[token] = what
	n.order = append(n.order, token)
	for len(n.order) > maxRecent || len(n.order) > 0 && what.at.Sub(n.recent[n.order[0]].at) > recentFor {
		delete(n.recent, n.order[0])
		n.order = n.order[1:]
	}
}

// tokenOf names a frame and its bytes. XXH3 guards against accidents, not
// against an attacker.
func tokenOf(source wire.SourceID, id string, f *ingest.Frame) frames.FrameToken {
	h := xxh3.New128()
	write := func(s string) {
		h.WriteString(s)
		h.Write([]byte{0})
	}
	write(string(source))
	write(id)
	for _, size := range f.Sizes {
		write(size.Name)
		sum := xxh3.Hash128(size.Data).Bytes()
		h.Write(sum[:])
	}
	return h.Sum128().Bytes()
}
