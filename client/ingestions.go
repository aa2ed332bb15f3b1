package client

import (
	"context"
	"net/http"

	"github.com/framedb/framedb/client/wire"
)

const ingestionsPath = "/v1/ingestions"

// Ingestions returns how sources are taken in, by source, where it was said.
func (c *Client) Ingestions(ctx context.Context) ([]wire.Ingestion, error) {
	return ask[[]wire.Ingestion](ctx, c, newRequest(http.MethodGet, ingestionsPath))
}

// Ingestion returns how a source is taken in.
//
// Errors: ErrNotFound (it is taken in by the defaults), ErrInvalidArgument.
func (c *Client) Ingestion(ctx context.Context, source wire.SourceID) (wire.Ingestion, error) {
	return ask[wire.Ingestion](ctx, c, newRequest(http.MethodGet, ingestionsPath).at(source))
}

// PutIngestion says how a source is taken in, anew or in place of what was
// said; nothing of that stays.
//
// Errors: ErrNotFound (with Field: the target or the queue's cluster is
// unknown), ErrConflict (it is being removed), ErrInvalidArgument with the field
// named, ErrOutcomeUnknown.
func (c *Client) PutIngestion(ctx context.Context, source wire.SourceID, spec wire.IngestionSpec) (wire.Ingestion, error) {
	return ask[wire.Ingestion](ctx, c, newRequest(http.MethodPut, ingestionsPath).at(source).json(spec))
}

// DeleteIngestion has a source be taken in by the defaults again. It returns
// what was said.
//
// Errors: ErrNotFound, ErrOutcomeUnknown.
func (c *Client) DeleteIngestion(ctx context.Context, source wire.SourceID) (wire.Ingestion, error) {
	return ask[wire.Ingestion](ctx, c, newRequest(http.MethodDelete, ingestionsPath).at(source))
}
