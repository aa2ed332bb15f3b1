package raftstore

import (
	"slices"

	"github.com/framedb/framedb/client/wire"
)

// Founding is one attempt of several agents to found a cluster together.
type Founding struct {
	ID      string   // names the cluster that comes of it
	Members []Member // the founder first, the others by name
	Voters  int      // how many of Members vote, from the first on
}

// Member is one agent in a Founding.
type Member struct {
	Name   wire.NodeName
	Addr   string
	DataID string
}

func (f *Founding) founder() Member { return f.Members[0] }

func (f *Founding) voters() []Member { return f.Members[:f.Voters] }

// includes reports whether the agent takes part with the data that it has now.
func (f *Founding) includes(name wire.NodeName, dataID string) bool {
	return slices.ContainsFunc(f.Members, func(m Member) bool { return m.Name == name && m.DataID == dataID })
}

func (f *Founding) validate() error {
	if f.ID == "" || len(f.Members) == 0 || f.Voters < 1 || f.Voters > len(f.Members) {
		return wire.Errorf(wire.CodeInvalidArgument, "no agents can found a cluster by %+v", *f)
	}
	return nil
}

// record is what a node remembers of where it belongs. Its methods decide and
// change nothing else; see DESIGN.md for why there are no two clusters.
type record struct {
	// Cluster names the cluster whose data is in Dir, or is to come.
	Cluster string `json:"cluster,omitempty"`
	// Promise is the founding that this node takes part in. It stays until it is
	// known that nothing can come of it.
	Promise *Founding `json:"promise,omitempty"`
	// Abandoned are the foundings from which this node will never take an entry.
	Abandoned []string `json:"abandoned,omitempty"`
	// Recovered is what the last Recover wrote, so that repeating it changes
	// nothing.
	Recovered string `json:"recovered,omitempty"`
}

// belongs names the cluster whose Raft this node listens to, empty for none.
func (r record) belongs() string {
	switch {
	case r.Cluster != "":
		return r.Cluster
	case r.Promise != nil && !slices.Contains(r.Abandoned, r.Promise.ID):
		return r.Promise.ID
	}
	return ""
}

// promise takes part in f. Errors: ErrConflict.
func (r record) promise(f Founding, name wire.NodeName, dataID string) (record, error) {
	switch held := r.Promise; {
	case r.Cluster != "":
		return r, wire.Errorf(wire.CodeConflict, "agent %s belongs to a cluster", name)
	case !f.includes(name, dataID):
		return r, wire.Errorf(wire.CodeConflict, "agent %s does not have the data that was meant", name)
	case slices.Contains(r.Abandoned, f.ID):
		return r, wire.Errorf(wire.CodeConflict, "agent %s has given this founding up", name)
	case held != nil && (held.founder().Name != f.founder().Name || held.founder().DataID != f.founder().DataID):
		// Another one of the same founder's ends the one before.
		return r, wire.Errorf(wire.CodeConflict, "agent %s takes part in the founding of %s", name, held.founder().Name)
	}
	r.Promise = &f
	return r, nil
}

// abandon takes no more part in the founding, though it may still succeed by
// others. The caller has seen that this node has no entry of it.
func (r record) abandon() record {
	if r.Promise != nil && !slices.Contains(r.Abandoned, r.Promise.ID) {
		r.Abandoned = append(slices.Clip(r.Abandoned), r.Promise.ID)
	}
	return r
}

// release is free for another founding.
func (r record) release() record {
	r.Promise = nil
	return r
}

// join belongs to a cluster from now on, whatever became of a founding.
func (r record) join(cluster string) record {
	if r.Promise != nil && r.Promise.ID != cluster {
		r = r.abandon()
	}
	r.Promise, r.Cluster = nil, cluster
	return r
}

// isOver reports whether nothing can come of f any more: its founder has
// withdrawn it, or so many of its voters have abandoned it that the rest is no
// majority.
func (f *Founding) isOver(said map[wire.NodeName]StatusReply) bool {
	founder := said[f.founder().Name]
	if founder.DataID == f.founder().DataID && founder.Cluster == "" && founder.Promise != f.ID {
		return true
	}
	abandoned := 0
	for _, v := range f.voters() {
		if s := said[v.Name]; s.DataID == v.DataID && slices.Contains(s.Abandoned, f.ID) {
			abandoned++
		}
	}
	return abandoned >= majority(f.Voters)
}

func majority(voters int) int { return voters/2 + 1 }
