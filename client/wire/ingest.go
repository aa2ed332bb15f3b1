package wire

// ContentFrames is the media type of a stream of frames; see package
// client/ingest for the format.
const ContentFrames = "application/x-framedb-frames"

// IngestStatus is what one agent has in hand of frames on their way in.
type IngestStatus struct {
	Node        NodeName `json:"node"`
	MemoryBytes int64    `json:"memory_bytes"`
	SpoolFrames uint64   `json:"spool_frames"`
	SpoolBytes  int64    `json:"spool_bytes"`
	// LagMS is the age of the oldest frame on disk, in milliseconds; 0 when
	// there is none.
	LagMS int64 `json:"lag_ms"`
	// Lanes are the sources at their targets, by source: those that had
	// something to do lately.
	Lanes []IngestLane `json:"lanes"`
}

// IngestLane is one source at one target.
type IngestLane struct {
	Source SourceID `json:"source_id"`
	// Target is "tag:<node tag>" or "framedb:<ID>".
	Target string `json:"target"`
	// Frames and Bytes were written since the lane was made. One that has had
	// nothing to do for a while is forgotten, and begins at zero again.
	Frames       int64  `json:"frames"`
	Bytes        int64  `json:"bytes"`
	MemoryFrames int    `json:"memory_frames"`
	SpoolFrames  uint64 `json:"spool_frames"`
	SpoolBytes   int64  `json:"spool_bytes"`
	LagMS        int64  `json:"lag_ms"`
	// Trouble is why its frames do not get on; empty when they do.
	Trouble string `json:"trouble,omitempty"`
}
