package backup

import "sync"

// Progress is how far a backup, restore or verification has come.
type Progress struct {
	// Objects and Bytes are done: sent, found to be there, or left out.
	Objects, Bytes int64
	// TotalObjects and TotalBytes are what there was to do when it began. Of a
	// FrameDB that changes meanwhile they are a guess.
	TotalObjects, TotalBytes int64
	// Moved is how many bytes of objects went to or came from S3.
	Moved int64
}

// tracker counts and tells. Safe for concurrent use.
type tracker struct {
	mu   sync.Mutex
	p    Progress
	tell func(Progress) // nil tells nobody; called with mu held, one call at a time
}

func (t *tracker) add(d Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.Objects += d.Objects
	t.p.Bytes += d.Bytes
	t.p.TotalObjects += d.TotalObjects
	t.p.TotalBytes += d.TotalBytes
	t.p.Moved += d.Moved
	if t.tell != nil {
		t.tell(t.p)
	}
}

func (t *tracker) now() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.p
}
