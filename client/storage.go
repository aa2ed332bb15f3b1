package client

import (
	"context"
	"net/http"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const storagePath = "/v1/storage"

// PersistentInstances returns all persistent FrameDBs by ID.
func (c *Client) PersistentInstances(ctx context.Context) ([]wire.PersistentInstance, error) {
	return ask[[]wire.PersistentInstance](ctx, c, newRequest(http.MethodGet, storagePath))
}

// PersistentInstance returns one persistent FrameDB.
//
// Errors: ErrNotFound, ErrInvalidArgument (no FrameDB can have this ID).
func (c *Client) PersistentInstance(ctx context.Context, id wire.FrameDBID) (wire.PersistentInstance, error) {
	return ask[wire.PersistentInstance](ctx, c, newRequest(http.MethodGet, storagePath).at(id))
}

// CreateStorage creates a persistent FrameDB and waits up to wait (at most 10
// minutes, 0 not at all) until it is ready. When that takes longer it returns
// it with PhaseCreating and no error: creating goes on. Status.Engine says what
// really holds the data.
//
// Errors: ErrAlreadyExists, ErrNoLiveNode (no live node carries the tag),
// ErrInvalidArgument with the field named, ErrOutcomeUnknown.
func (c *Client) CreateStorage(ctx context.Context, spec wire.CreateStorage, wait time.Duration) (wire.PersistentInstance, error) {
	return ask[wire.PersistentInstance](ctx, c, newRequest(http.MethodPost, storagePath).json(spec).waiting(wait))
}

// UpdateStorage changes what is set in the update, and waits like CreateStorage
// until it is brought about. Setting what is set already succeeds and changes
// nothing.
//
// Errors: ErrNotFound, ErrConflict (it is being removed; or a server of
// FrameDB's own would become an external one), ErrInvalidArgument with the
// field named, ErrOutcomeUnknown.
func (c *Client) UpdateStorage(ctx context.Context, id wire.FrameDBID, update wire.UpdateStorage, wait time.Duration) (wire.PersistentInstance, error) {
	return ask[wire.PersistentInstance](ctx, c, newRequest(http.MethodPatch, storagePath).at(id).json(update).waiting(wait))
}

// RemoveStorage removes a persistent FrameDB with its data and waits up to wait
// until nothing of it is left; removing goes on when that takes longer. It
// returns what it was. The data on an external server stays there.
//
// Errors: ErrNotFound, ErrConflict (an ingestion has it for its target),
// ErrOutcomeUnknown.
func (c *Client) RemoveStorage(ctx context.Context, id wire.FrameDBID, wait time.Duration) (wire.PersistentInstance, error) {
	return ask[wire.PersistentInstance](ctx, c, newRequest(http.MethodDelete, storagePath).at(id).waiting(wait))
}

// CredentialsOf returns what is needed to connect to one FrameDB: the password
// and, of a persistent one, user and database. While a password is changed it
// is the new one.
//
// Errors: ErrNotFound, those of Credentials.
func (c *Client) CredentialsOf(ctx context.Context, id wire.FrameDBID) (wire.Credentials, error) {
	if err := id.Validate(); err != nil {
		return wire.Credentials{}, err
	}
	return ask[wire.Credentials](ctx, c, newRequest(http.MethodGet, credentialsPath).with("framedb_id", string(id)))
}
