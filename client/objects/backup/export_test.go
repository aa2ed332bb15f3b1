package backup

import (
	"context"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// SweepAfter is Sweep with other ages.
func (r *Repository) SweepAfter(ctx context.Context, id wire.FrameDBID, abandoned, grace time.Duration) (Swept, error) {
	return r.sweep(ctx, id, abandoned, grace)
}
