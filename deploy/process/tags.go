package process

import (
	"context"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/sockets"
)

// ServeTag implements deploy.Driver.
func (d *Driver) ServeTag(_ context.Context, tag wire.NodeTag, member wire.FrameDBID) error {
	d.tags.Lock()
	defer d.tags.Unlock()
	return sockets.Link(d.cfg.SocketDir, tag, member)
}

// dropLinks removes the tags' links to a member's socket that is going.
func (d *Driver) dropLinks(id wire.FrameDBID) error {
	d.tags.Lock()
	defer d.tags.Unlock()
	return sockets.Unlink(d.cfg.SocketDir, id)
}
