package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/reststore"
	"github.com/framedb/framedb/client/wire"
)

// objectStore is the objects of one FrameDB.
type objectStore struct {
	*objects.Store
	id wire.FrameDBID
	// rest is set when an agent stands between.
	rest *reststore.Backend
}

// probe is asked for when nothing else is, to see whether the password is
// accepted; nobody is surprised when it is not there.
const probe objects.Key = "framedb.probe"

// openObjects goes to the database directly where it may: with the password of
// the environment, or with the one that the agent of this machine gives, as
// long as the database accepts it. Else the agent is asked to stand in between.
func (s *session) openObjects(ctx context.Context, id wire.FrameDBID) (objectStore, error) {
	store, err := s.client.Objects(ctx, id)
	if err == nil {
		_, err = store.Exists(ctx, probe)
	}
	if err == nil || !errors.Is(err, wire.ErrForbidden) {
		return objectStore{Store: store, id: id}, err
	}
	rest, err := s.restObjects(ctx, id)
	return objectStore{objects.New(rest), id, rest}, err
}

// restObjects goes through the agent that the client uses.
func (s *session) restObjects(ctx context.Context, id wire.FrameDBID) (*reststore.Backend, error) {
	addr, err := s.client.Addr(ctx)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost: maxParallel, IdleConnTimeout: time.Minute, ExpectContinueTimeout: 10 * time.Second,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}
	if socket, is := strings.CutPrefix(addr, "unix://"); is {
		addr = "http://agent" // nobody looks at the host on a socket
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	rest := reststore.New(reststore.Config{Base: strings.TrimSuffix(addr, "/"), HTTP: &http.Client{Transport: transport}, ID: id})
	s.closers = append(s.closers, rest.Close)
	return rest, nil
}

// copyObject copies, within the agent where that is what is used for both.
func copyObject(ctx context.Context, dst objectStore, to objects.Key, src objectStore, from objects.Key, cond objects.Condition) (objects.Info, error) {
	if dst.rest != nil && src.rest != nil {
		return dst.rest.CopyFrom(ctx, to, src.id, from, cond)
	}
	return objects.Copy(ctx, dst.Store, to, src.Store, from, cond)
}
