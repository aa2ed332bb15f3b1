package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// v1Credentials is the one answer that has a password in it.
func (s *Server) v1Credentials(c *gin.Context) (reply, error) {
	if !trusted(c.Request) {
		return reply{}, wire.Errorf(wire.CodeForbidden, "only root and the agent's own user may ask, on the agent's unix socket")
	}
	c.Header("Cache-Control", "no-store")
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	if !q.Has("framedb_id") {
		return ok(wire.Credentials{Password: s.cfg.Password})
	}
	creds, err := s.credentialsOf(s.cfg.Store.View(), wire.FrameDBID(q.Get("framedb_id")))
	return reply{body: creds}, err
}

// credentialsOf are those of one FrameDB. While a password is changed it is the
// new one, which the database may not have yet.
func (s *Server) credentialsOf(v *state.View, id wire.FrameDBID) (wire.Credentials, error) {
	if err := check("framedb_id", id); err != nil {
		return wire.Credentials{}, err
	}
	p, persistent := v.Persistent(id)
	if !persistent {
		_, err := clusterOf(v, "framedb_id", id)
		return wire.Credentials{Password: s.cfg.Password}, err
	}
	creds := wire.Credentials{User: wire.DefaultStorageUser, Database: wire.DefaultDatabase}
	if e := p.External; e != nil {
		creds.User, creds.Database = e.User, e.Database
	}
	creds.Password = Locator{Password: s.cfg.Password}.passwords(v, id)[0]
	return creds, nil
}
