// Package external is the driver of persistent FrameDBs on a database server
// that exists already. It connects, and never starts, stops or deletes
// anything: what is removed from FrameDB is forgotten, its data stays.
package external

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// dialTimeout bounds one look at a server.
const dialTimeout = 3 * time.Second

// Driver knows where servers are, from the last Apply: it keeps nothing on
// disk. It starts no goroutine.
type Driver struct {
	mu        sync.Mutex
	addresses map[wire.FrameDBID]string // guarded by mu
}

var _ deploy.StorageDriver = (*Driver)(nil)

// New makes a driver that knows no server.
func New() *Driver { return &Driver{addresses: map[wire.FrameDBID]string{}} }

// StorageNodeBound is false: any node can connect.
func (d *Driver) StorageNodeBound() bool { return false }

// ObserveStorage implements deploy.StorageDriver: a server runs if it takes a
// connection. That it does not is Storage.Reason, no error.
func (d *Driver) ObserveStorage(ctx context.Context, id wire.FrameDBID) (deploy.Storage, error) {
	if err := id.Validate(); err != nil {
		return deploy.Storage{}, err
	}
	address, known := d.address(id)
	if !known {
		return deploy.Storage{}, nil
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return deploy.Storage{}, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return deploy.Storage{}, err
	}
	seen := deploy.Storage{Exists: true, Host: host, Port: port, Wanted: wire.StorageReplicas{TiDB: 1}}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
	if ctx.Err() != nil {
		return deploy.Storage{}, ctx.Err()
	}
	if err != nil {
		seen.Reason = fmt.Sprintf("the external server cannot be reached: %v", err)
		return seen, nil
	}
	conn.Close()
	seen.Running, seen.Ready = true, seen.Wanted
	return seen, nil
}

func (d *Driver) address(id wire.FrameDBID) (address string, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	address, known = d.addresses[id]
	return address, known
}

// ApplyStorage implements deploy.StorageDriver. The password is the one by
// which FrameDB logs in: it is never set.
func (d *Driver) ApplyStorage(_ context.Context, id wire.FrameDBID, spec wire.StorageSpec, _ deploy.StoragePassword) error {
	if err := id.Validate(); err != nil {
		return err
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	if spec.External == nil {
		return wire.InField("external", wire.Errorf(wire.CodeInvalidArgument, "it is missing: name the server's address"))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addresses[id] = spec.External.Address
	return nil
}

// RemoveStorage implements deploy.StorageDriver: the server, its database and
// all data stay.
func (d *Driver) RemoveStorage(_ context.Context, id wire.FrameDBID) error {
	if err := id.Validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.addresses, id)
	return nil
}
