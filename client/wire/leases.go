package wire

// Use is uses of one frame: those that retain adds, or that a lease takes.
type Use struct {
	// Key is the count key, ref__P__n.
	Key string `json:"key"`
	// By is how many (1..MaxDecrementBy).
	By int64 `json:"by"`
}

// Used is what became of one Use.
type Used struct {
	Key string `json:"key"`
	// Missing is true when nothing was added or taken: there is no count, it is
	// at zero or below, or a lease claims more than it has.
	Missing bool `json:"missing,omitempty"`
	// Count is the frame's count now.
	Count int64 `json:"count"`
}

// RetainFrames is the body of POST /v1/frames/{source}/retain; its token is the
// Idempotency-Key.
type RetainFrames struct {
	NodeTag NodeTag `json:"node_tag,omitempty"`
	Uses    []Use   `json:"uses"`
}

// UseResults is the answer to it and to POST /v1/leases/{lease}, in the order of
// the request.
type UseResults struct {
	Results []Used `json:"results"`
}

// LeasePlace says on which cluster a lease is: on the one, or on that which a
// source is mapped to on a node tag, or on the nearest one without a tag. With a
// source all frames have to be its.
type LeasePlace struct {
	Cluster ClusterName `json:"cluster,omitempty"`
	Source  SourceID    `json:"source,omitempty"`
	NodeTag NodeTag     `json:"node_tag,omitempty"`
}

// TakeLease is the body of POST /v1/leases/{lease}; its token is the
// Idempotency-Key.
type TakeLease struct {
	LeasePlace
	// TTL is for how many milliseconds the lease lasts from now on.
	TTL  int64 `json:"ttl_ms"`
	Uses []Use `json:"uses"`
	// Add adds the uses to the counts. Without it they are those that the writer
	// counted for this consumer.
	Add bool `json:"add,omitempty"`
}

// RenewLease is the body of POST /v1/leases/{lease}/renew.
type RenewLease struct {
	LeasePlace
	TTL int64 `json:"ttl_ms"`
}

// PutBack is the body of POST /v1/leases/{lease}/put-back; its token is the
// Idempotency-Key, its answer [DecrementResults].
type PutBack struct {
	LeasePlace
	Decrements []Decrement `json:"decrements"`
}

// LeaseReleased is the answer of POST /v1/leases/{lease}/release.
type LeaseReleased struct {
	Frames  int64 `json:"frames"`  // of which uses were given back, or that were gone
	Deleted int64 `json:"deleted"` // data keys of those whose count came to zero
}

// Lease is one that holds something.
type Lease struct {
	ID string `json:"id"`
	// Left is how many milliseconds it lasts; 0 has lapsed.
	Left   int64 `json:"left_ms"`
	Frames int64 `json:"frames"` // of which it holds uses
}

// Leases is the answer of GET /v1/leases, the first to lapse first.
type Leases struct {
	Leases []Lease `json:"leases"`
}

// SweepCluster is the body of POST /v1/clusters/{name}/sweep.
type SweepCluster struct {
	// DryRun looks once, and unlinks nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

// Swept is its answer.
type Swept struct {
	Keys int64 `json:"keys"` // that were looked at
	// Suspects seem to be left over, and Found were so for the grace time: those
	// went, in Unlinked keys. By kind: "data" without a count, "count" without
	// data, and "spent" frames at zero or below.
	Suspects map[string]int64 `json:"suspects"`
	Found    map[string]int64 `json:"found"`
	Unlinked int64            `json:"unlinked"`
	// More is true when there is more than one sweep can remember.
	More bool `json:"more,omitempty"`
}
