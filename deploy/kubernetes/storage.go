package kubernetes

import (
	"context"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

var _ deploy.StorageDriver = (*Driver)(nil)

// ObserveStorage implements deploy.StorageDriver: there is nothing.
func (d *Driver) ObserveStorage(context.Context, wire.FrameDBID) (deploy.Storage, error) {
	return deploy.Storage{}, nil
}

// ApplyStorage implements deploy.StorageDriver.
func (d *Driver) ApplyStorage(context.Context, wire.FrameDBID, wire.StorageSpec, deploy.StoragePassword) error {
	return wire.Errorf(wire.CodeOperatorMissing, "persistent FrameDBs cannot be made on Kubernetes yet: give one that is there by its address")
}

// RemoveStorage implements deploy.StorageDriver: there is nothing to remove.
func (d *Driver) RemoveStorage(context.Context, wire.FrameDBID) error { return nil }

// StorageNodeBound implements deploy.StorageDriver.
func (d *Driver) StorageNodeBound() bool { return false }
