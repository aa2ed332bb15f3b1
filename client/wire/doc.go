// Package wire holds the words that every part of FrameDB shares: the named
// types for names and IDs with their rules, the resources as they stand in the
// store and cross the v1 API, and the errors with the codes by which they
// travel. It imports nothing of FrameDB, so anything may import it.
//
// JSON is the only encoding. Field names are snake_case and append-only: a
// field may be added, never renamed or given another meaning, because stored
// snapshots and running clients read them.
package wire
