package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

// What only one agent can see, its own processes, any other one asks it for.
// The question goes to that agent's /v1 with ?local, so that it goes no further.

// passOnTimeout bounds an answer of another agent.
const passOnTimeout = 2 * time.Minute

// isLocal reports whether another agent asks, which wants this one's answer.
func isLocal(c *gin.Context) (bool, error) {
	q, err := queryOf(c)
	return q.Has("local"), err
}

// synchronizeCluster has the cluster's owner do it.
func (s *Server) synchronizeCluster(c *gin.Context, name wire.ClusterName) error {
	local, err := isLocal(c)
	if err != nil {
		return err
	}
	row, known := s.cfg.Store.View().Cluster(name)
	if local || !known || row.Status.Owner == "" || row.Status.Owner == s.cfg.Node {
		return s.cfg.Sync.SynchronizeCluster(c.Request.Context(), name)
	}
	var synced wire.Cluster
	if err := s.passOn(c.Request.Context(), row.Status.Owner, "/v1/clusters/"+url.PathEscape(string(name))+"/sync", nil, &synced); err != nil {
		return err
	}
	return s.follow(c.Request.Context(), synced.ModifyIndex)
}

// synchronize has every live agent do it and joins what they find. Agents that
// cannot be asked are named; what the others found stands all the same.
func (s *Server) synchronize(c *gin.Context, adopt bool) ([]wire.ClusterName, error) {
	found, err := s.cfg.Sync.Synchronize(c.Request.Context(), adopt)
	local, badQuery := isLocal(c)
	if local || badQuery != nil {
		return found, firstError(badQuery, err)
	}
	problems := []error{err}
	for _, m := range s.cfg.Members() {
		if !m.Alive || m.Name == s.cfg.Node {
			continue
		}
		var theirs syncResult
		if err := s.passOn(c.Request.Context(), m.Name, "/v1/sync", syncBody{adopt}, &theirs); err != nil {
			problems = append(problems, err)
		}
		found = append(found, theirs.Clusters...)
	}
	slices.Sort(found)
	return slices.Compact(found), errors.Join(problems...)
}

// passOn asks the agent of another node. Errors: that agent's, ErrUnavailable.
func (s *Server) passOn(ctx context.Context, to wire.NodeName, path string, body, answer any) error {
	node, known := s.cfg.Store.View().Node(to)
	if !known {
		return wire.Errorf(wire.CodeUnavailable, "node %q, which has to be asked, is not registered", to)
	}
	ctx, cancel := context.WithTimeout(ctx, passOnTimeout)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		text = nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+node.Address+path+"?local", bytes.NewReader(text))
	if err != nil {
		return err
	}
	res, err := s.others.Do(req)
	if err != nil {
		return wire.Errorf(wire.CodeUnavailable, "node %q, which has to be asked, does not answer: %v", to, err)
	}
	defer res.Body.Close()
	if res.StatusCode < http.StatusBadRequest {
		return json.NewDecoder(res.Body).Decode(answer)
	}
	var failure wire.Failure
	if json.NewDecoder(res.Body).Decode(&failure) != nil || failure.Code == "" {
		return wire.Errorf(wire.CodeUnavailable, "node %q answers with status %d", to, res.StatusCode)
	}
	return &failure.Error
}
