package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// createStorage creates a persistent FrameDB and waits until it is ready or
// ?wait= has passed; the work goes on then.
func (s *Server) createStorage(c *gin.Context, in wire.CreateStorage) (wire.PersistentInstance, error) {
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return wire.PersistentInstance{}, err
	}
	defer cancel()
	in.ApplyDefaults()
	if err := firstError(check("framedb_id", in.ID), in.StorageSpec.Validate(), checkPlan(in.Backup), wire.ValidatePassword(in.Password)); err != nil {
		return wire.PersistentInstance{}, err
	}
	if v := s.cfg.Store.View(); !taken(v, in.ID) {
		if err := s.checkAlive(v, in.NodeTag); err != nil {
			return wire.PersistentInstance{}, err
		}
	}
	return s.changeStorage(c, p, state.CreateStorage{ID: in.ID, Spec: in.StorageSpec, Password: in.Password})
}

// updateStorage changes a spec or the password, and waits like createStorage.
func (s *Server) updateStorage(c *gin.Context, id wire.FrameDBID, in wire.UpdateStorage) (wire.PersistentInstance, error) {
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return wire.PersistentInstance{}, err
	}
	defer cancel()
	if err := checkPlan(in.Backup); err != nil {
		return wire.PersistentInstance{}, err
	}
	return s.changeStorage(c, p, state.UpdateStorage{ID: id, UpdateStorage: in})
}

// changeStorage waits until what cmd asked for is brought about, the FrameDB is
// gone or being removed, or the pause is over.
func (s *Server) changeStorage(c *gin.Context, p pause, cmd state.Command) (wire.PersistentInstance, error) {
	row, _, err := propose[wire.PersistentInstance](s, c, cmd)
	if err != nil {
		return row, err
	}
	generation, created := row.Generation, row.CreateIndex
	return row, s.await(p, func(v *state.View) bool {
		now, found := v.Persistent(row.ID)
		if !found || now.CreateIndex != created {
			return true
		}
		row = *now
		reached := row.Status.Phase == wire.PhaseReady && row.Status.ObservedGeneration >= generation
		return reached || row.Status.Phase == wire.PhaseRemoving
	})
}

// removeStorage has a persistent FrameDB removed with its data and waits until
// nothing of it is left or ?wait= has passed. It returns what it was.
func (s *Server) removeStorage(c *gin.Context, id wire.FrameDBID) (row wire.PersistentInstance, gone bool, err error) {
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return row, false, err
	}
	defer cancel()
	row, index, err := propose[wire.PersistentInstance](s, c, state.RemoveStorage{ID: id})
	if err != nil {
		return row, false, err
	}
	err = s.await(p, func(v *state.View) bool {
		now, found := v.Persistent(id)
		gone = !found || now.CreateIndex > index
		return gone
	})
	return row, gone, err
}

func persistentIn(v *state.View, id wire.FrameDBID) (*wire.PersistentInstance, error) {
	row, found := v.Persistent(id)
	if !found {
		return nil, wire.Errorf(wire.CodeNotFound, "persistent FrameDB %q is unknown", id)
	}
	return row, nil
}
