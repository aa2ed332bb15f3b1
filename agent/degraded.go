package agent

import (
	"fmt"

	"github.com/framedb/framedb/actors"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
	"github.com/framedb/framedb/raftstore"
)

// synchronizer is the actors, with what is wrong with the agent itself.
type synchronizer struct {
	*actors.Actors
	node  wire.NodeName
	store *raftstore.Store
	door  frontDoor
}

var _ httpapi.Synchronizer = synchronizer{}

// Degraded begins with a full disk, of which most other things come.
func (s synchronizer) Degraded() []string {
	wrong := append(s.Actors.Degraded(), s.door.degraded()...)
	if err := s.store.DiskFull(); err != nil {
		wrong = append([]string{fmt.Sprintf("the disk of node %s is full: %s", s.node, wire.AsError(err).Message)}, wrong...)
	}
	return wrong
}
