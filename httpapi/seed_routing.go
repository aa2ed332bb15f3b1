package httpapi

import (
	"encoding/json"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// The bodies of /routing.
type (
	seedSource struct {
		Source wire.SourceID `json:"sourceId"`
	}

	seedMapping struct {
		Source   wire.SourceID   `json:"sourceId"`
		NodeTag  wire.NodeTag    `json:"nodeTag"`
		Metadata json.RawMessage `json:"metadata"`
	}

	seedReassign struct {
		Source  wire.SourceID  `json:"sourceId"`
		NodeTag wire.NodeTag   `json:"nodeTag"`
		FrameDB wire.FrameDBID `json:"framedb"`
	}

	seedInstance struct {
		FrameDB wire.FrameDBID `json:"framedb"`
	}

	seedTag struct {
		NodeTag wire.NodeTag `json:"nodeTag"`
	}
)

// mappingInfo is getMapping's result, and that of every endpoint that changes
// a mapping: what holds afterwards.
type mappingInfo struct {
	Source   wire.SourceID    `json:"sourceId"`
	NodeTags []wire.NodeTag   `json:"nodeTags"`
	Nodes    []wire.NodeEntry `json:"framedbNodes"`
}

// mappingInfoOf describes where a source writes to; nowhere gives empty lists.
func (s *Server) mappingInfoOf(v *state.View, source wire.SourceID) mappingInfo {
	mappings := v.MappingsOf(source)
	info := mappingInfo{
		Source:   source,
		NodeTags: make([]wire.NodeTag, len(mappings)),
		Nodes:    make([]wire.NodeEntry, len(mappings)),
	}
	for i, m := range mappings {
		info.NodeTags[i] = m.NodeTag
		info.Nodes[i] = wire.NodeEntryOf(*m, rowsOf(v.InstancesOf(m.Cluster)), s.cfg.Namespace)
	}
	return info
}

func (s *Server) seedGetMapping(_ *gin.Context, in *seedSource) (reply, error) {
	if err := check("sourceId", in.Source); err != nil {
		return reply{}, err
	}
	info := s.mappingInfoOf(s.cfg.Store.View(), in.Source)
	if len(info.Nodes) == 0 {
		return reply{}, wire.InField("sourceId", wire.Errorf(wire.CodeNotFound, "source %q is not mapped", in.Source))
	}
	return ok(info)
}

func (in *seedMapping) check() error {
	return firstError(check("sourceId", in.Source), check("nodeTag", in.NodeTag))
}

// changeMapping proposes a change and answers what the source's mappings are
// then.
func (s *Server) changeMapping(c *gin.Context, source wire.SourceID, cmd state.Command) (reply, error) {
	if _, _, err := propose[wire.Mapping](s, c, cmd); err != nil {
		return reply{}, err
	}
	return ok(s.mappingInfoOf(s.cfg.Store.View(), source))
}

func (s *Server) seedCreateMapping(c *gin.Context, in *seedMapping) (reply, error) {
	if err := in.check(); err != nil {
		return reply{}, err
	}
	return s.changeMapping(c, in.Source, state.CreateMapping{Source: in.Source, NodeTag: in.NodeTag, Metadata: in.Metadata})
}

func (s *Server) seedRemoveMapping(c *gin.Context, in *seedMapping) (reply, error) {
	if err := in.check(); err != nil {
		return reply{}, err
	}
	return s.changeMapping(c, in.Source, state.RemoveMapping{Source: in.Source, NodeTag: in.NodeTag})
}

func (s *Server) seedUpdateMetadata(c *gin.Context, in *seedMapping) (reply, error) {
	if err := in.check(); err != nil {
		return reply{}, err
	}
	return s.changeMapping(c, in.Source, state.UpdateMetadata{Source: in.Source, NodeTag: in.NodeTag, Metadata: in.Metadata})
}

func (s *Server) seedReassignSource(c *gin.Context, in *seedReassign) (reply, error) {
	if err := firstError(check("sourceId", in.Source), check("nodeTag", in.NodeTag), check("framedb", in.FrameDB)); err != nil {
		return reply{}, err
	}
	name, err := clusterOf(s.cfg.Store.View(), "framedb", in.FrameDB)
	if err != nil {
		return reply{}, err
	}
	return s.changeMapping(c, in.Source, state.ReassignSource{Source: in.Source, NodeTag: in.NodeTag, Cluster: name})
}

// mappingIn finds one mapping.
func mappingIn(v *state.View, source wire.SourceID, tag wire.NodeTag) (*wire.Mapping, error) {
	m, found := v.Mapping(source, tag)
	if !found {
		return nil, wire.Errorf(wire.CodeNotFound, "source %q is not mapped on node tag %q", source, tag)
	}
	return m, nil
}

// seedUpdateMapping asks Sentinel again who the master of a mapping's cluster
// is, has what is stored brought in line, and answers with the master of now.
func (s *Server) seedUpdateMapping(c *gin.Context, in *seedMapping) (reply, error) {
	if err := in.check(); err != nil {
		return reply{}, err
	}
	ctx, v := c.Request.Context(), s.cfg.Store.View()
	m, err := mappingIn(v, in.Source, in.NodeTag)
	if err != nil {
		return reply{}, err
	}
	now, err := s.topology(ctx, v, m.Cluster)
	if err != nil {
		return reply{}, err
	}
	if err := s.synchronizeCluster(c, m.Cluster); err != nil {
		return reply{}, err
	}
	info := s.mappingInfoOf(s.cfg.Store.View(), in.Source)
	for i := range info.Nodes {
		if e := &info.Nodes[i]; e.Cluster == m.Cluster {
			e.MasterIP, e.RedisPort = now.Master.Host, now.Master.Port
		}
	}
	return ok(info)
}

func (s *Server) seedGetMetadata(_ *gin.Context, in *seedMapping) (reply, error) {
	if err := in.check(); err != nil {
		return reply{}, err
	}
	m, err := mappingIn(s.cfg.Store.View(), in.Source, in.NodeTag)
	if err != nil {
		return reply{}, err
	}
	if len(m.Metadata) == 0 {
		return ok(struct{}{})
	}
	return ok(m.Metadata)
}
