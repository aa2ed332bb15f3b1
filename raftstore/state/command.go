package state

import (
	"encoding/json"
	"fmt"

	"github.com/framedb/framedb/client/wire"
)

// Command is one typed change of the state. Each command type below documents
// its result, as it comes out of Result.Decode, and the errors it is refused
// with; a refused command changes nothing.
type Command interface {
	// Type is the stable name under which the command stands in the Raft log.
	Type() CommandType
}

// CommandType names a command in the log. Append-only.
type CommandType string

// CreateClusters creates every named cluster with one spec, all or none, each
// in PhaseCreating with Generation 1 and without an owner.
//
// Result: []wire.Cluster in the order of Names.
// Errors: ErrInvalidArgument (a name, the spec or Metadata; Names is empty or
// names one twice), ErrAlreadyExists (one of the names is taken, by a cluster or
// a persistent FrameDB; it is named), ErrTooLarge (Metadata).
type CreateClusters struct {
	Names []wire.ClusterName `json:"names"`
	Spec  wire.ClusterSpec   `json:"spec"`
	// Metadata is that of each.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// UpdateCluster changes the parts of a spec that are not nil and bumps
// Generation if anything differs; and the metadata, which is no part of it.
//
// Result: wire.Cluster; unchanged if nothing differs.
// Errors: ErrNotFound, ErrInvalidArgument, ErrTooLarge (the metadata),
// ErrConflict (it is being removed).
type UpdateCluster struct {
	Name wire.ClusterName `json:"name"`
	wire.UpdateCluster
}

// RemoveCluster puts the cluster into PhaseRemoving and moves each of its
// sources to the least loaded cluster that remains on the node tag (fewest
// mappings, then name; never one that is being removed, and one whose owner is
// draining only where there is no other). Sources for which none remains lose
// the mapping. Removing twice changes nothing more.
//
// Result: wire.RemovedCluster.
// Errors: ErrNotFound.
type RemoveCluster struct {
	Name wire.ClusterName `json:"name"`
}

// PurgeCluster deletes a cluster in PhaseRemoving and its instances, once
// nothing of it runs. An owner says in which epoch it does so; 0 is not
// checked.
//
// Result: none. Errors: ErrConflict (it is not being removed, or Epoch is not
// the stored one). A cluster that is gone already is no error.
type PurgeCluster struct {
	Name  wire.ClusterName `json:"name"`
	Epoch uint64           `json:"epoch,omitempty"`
}

// Item names what has an owner: a cluster or a persistent FrameDB, one of the
// two.
type Item struct {
	Cluster wire.ClusterName `json:"cluster,omitempty"`
	Storage wire.FrameDBID   `json:"storage,omitempty"`
}

// String is how an operator reads it: cluster "a", persistent FrameDB "disk-1".
func (i Item) String() string {
	if i.Storage != "" {
		return fmt.Sprintf("persistent FrameDB %q", string(i.Storage))
	}
	return fmt.Sprintf("cluster %q", string(i.Cluster))
}

// AssignOwner makes a node the owner of an item and raises OwnerEpoch by one,
// which fences the former owner: of that one a Leftover remains. A ready item
// is degraded until its new owner has reported.
//
// Epoch is the OwnerEpoch that the proposer saw, so that one of two who decide
// at once is refused. An item that the node owns in Epoch or the one after is
// left alone, so that a repeated command changes nothing.
//
// Result: wire.Cluster or wire.PersistentInstance.
// Errors: ErrNotFound (the item, or the node: Field is owner), ErrConflict
// (another epoch; or, with Field owner, the node is draining, or does not
// carry the tag of an item that is not being removed).
type AssignOwner struct {
	Item
	Owner wire.NodeName `json:"owner"`
	Epoch uint64        `json:"epoch"`
}

// ReportUnattended says why nobody works on an item: a ready one becomes
// degraded. Owner and epoch stay; the next report of the owner, or the next
// owner, takes the reason away.
//
// Result: none. Errors: ErrNotFound, ErrConflict (another epoch).
type ReportUnattended struct {
	Item
	Epoch  uint64 `json:"epoch"`
	Reason string `json:"reason"`
}

// ForgetLeftover says that a former owner has nothing of an item any more.
//
// Result: none. A leftover that is not stored, or is of another epoch, is no
// error.
type ForgetLeftover struct{ Leftover }

// ReportCluster stores what the owner observed: the status and the complete
// list of instances. Owner and epoch have to be the stored ones: a report
// never changes them, and that of a former owner is refused. The phase of a
// cluster being removed stays. A report that changes nothing leaves every
// index alone.
//
// Result: none. Errors: ErrNotFound, ErrConflict (fenced).
type ReportCluster struct {
	Name      wire.ClusterName   `json:"name"`
	Status    wire.ClusterStatus `json:"status"`
	Instances []wire.Instance    `json:"instances"`
}

// ImportCluster stores a cluster that was found running and is not known yet,
// in PhaseCreating, so that its owner brings it under control. Owner is the
// node on which its data is, where it is bound to one, and owns it from the
// start, in epoch 1.
//
// Result: wire.Cluster. Errors: ErrInvalidArgument, ErrAlreadyExists, those of
// AssignOwner.
type ImportCluster struct {
	Name  wire.ClusterName `json:"name"`
	Spec  wire.ClusterSpec `json:"spec"`
	Owner wire.NodeName    `json:"owner,omitempty"`
}

// CreateMapping maps a source on a node tag to Cluster or, when Cluster is
// empty, to the least loaded cluster on the tag.
//
// Result: wire.Mapping.
// Errors: ErrInvalidArgument, ErrAlreadyExists (the pair is mapped),
// ErrNotFound (Cluster is unknown), ErrConflict (Cluster is on another tag or
// being removed), ErrNoCluster (no cluster on the tag).
type CreateMapping struct {
	Source   wire.SourceID    `json:"source_id"`
	NodeTag  wire.NodeTag     `json:"node_tag"`
	Cluster  wire.ClusterName `json:"cluster,omitempty"`
	Metadata json.RawMessage  `json:"metadata,omitempty"`
}

// RemoveMapping removes one mapping. Result: wire.Mapping as it was.
// Errors: ErrNotFound.
type RemoveMapping struct {
	Source  wire.SourceID `json:"source_id"`
	NodeTag wire.NodeTag  `json:"node_tag"`
}

// ReassignSource points one mapping at another cluster on the same tag.
// Result: wire.Mapping. Errors: ErrNotFound (mapping or cluster), ErrConflict
// (other tag, or being removed).
type ReassignSource struct {
	Source  wire.SourceID    `json:"source_id"`
	NodeTag wire.NodeTag     `json:"node_tag"`
	Cluster wire.ClusterName `json:"cluster"`
}

// ReassignInstance moves all sources of a cluster to the least loaded other
// clusters on the tag, one by one.
// Result: wire.RemovedCluster (Unmapped stays empty).
// Errors: ErrNotFound, ErrNoCluster (no other cluster on the tag).
type ReassignInstance struct {
	NodeTag wire.NodeTag     `json:"node_tag"`
	Cluster wire.ClusterName `json:"cluster"`
}

// UpdateMetadata replaces a mapping's metadata. Result: wire.Mapping.
// Errors: ErrNotFound, ErrInvalidArgument (no JSON object, too large).
type UpdateMetadata struct {
	Source   wire.SourceID   `json:"source_id"`
	NodeTag  wire.NodeTag    `json:"node_tag"`
	Metadata json.RawMessage `json:"metadata"`
}

// RegisterNode stores an agent's registration. Label and Draining, which are
// the users', stay as they are. Result: wire.Node. Errors: ErrInvalidArgument.
type RegisterNode struct {
	Node wire.Node `json:"node"`
}

// DrainNode has a node take no further clusters, and no further sources where
// another cluster on the tag can take them; or ends that.
// Result: wire.Node. Errors: ErrNotFound.
type DrainNode struct {
	Name     wire.NodeName `json:"name"`
	Draining bool          `json:"draining"`
}

// RemoveNode forgets a node, and what it may still have of clusters. An agent
// that lives registers again when it starts.
// Result: wire.Node as it was. Errors: ErrNotFound, ErrConflict (it owns
// clusters; one is named).
type RemoveNode struct {
	Name wire.NodeName `json:"name"`
}

// LabelNode sets the node's label, or removes it when Label is empty.
// Result: wire.Node. Errors: ErrNotFound, ErrInvalidArgument.
type LabelNode struct {
	Name  wire.NodeName `json:"name"`
	Label wire.NodeTag  `json:"label"`
}

// CreateStorage creates a persistent FrameDB in PhaseCreating with Generation 1
// and without an owner. An empty Password means the deployment's.
//
// Result: wire.PersistentInstance.
// Errors: ErrInvalidArgument (the ID, which must not have the form of a
// cluster's member, the spec, the password), ErrAlreadyExists (it is taken, by a
// persistent FrameDB or as the name of a cluster).
type CreateStorage struct {
	ID       wire.FrameDBID   `json:"framedb_id"`
	Spec     wire.StorageSpec `json:"spec"`
	Password string           `json:"password,omitempty"`
}

// UpdateStorage changes the parts of a spec that are not nil, and the password,
// and bumps Generation if anything differs. Of Replicas and Parameters each kind
// of server is a part: zero and absent leave it as it is.
//
// Result: wire.PersistentInstance; unchanged if nothing differs.
// Errors: ErrNotFound, ErrInvalidArgument, ErrConflict (it is being removed;
// or, with Field external, FrameDB's own server would become an external one or
// the reverse).
type UpdateStorage struct {
	ID wire.FrameDBID `json:"framedb_id"`
	wire.UpdateStorage
}

// RemoveStorage puts a persistent FrameDB into PhaseRemoving. Removing twice
// changes nothing more.
//
// Result: wire.PersistentInstance. Errors: ErrNotFound, ErrConflict (an
// ingestion has it for its target).
type RemoveStorage struct {
	ID wire.FrameDBID `json:"framedb_id"`
}

// PurgeStorage deletes a persistent FrameDB in PhaseRemoving, once nothing of
// it runs. An owner says in which epoch it does so; 0 is not checked.
//
// Result: none. Errors: ErrConflict (it is not being removed, or Epoch is not
// the stored one). One that is gone already is no error.
type PurgeStorage struct {
	ID    wire.FrameDBID `json:"framedb_id"`
	Epoch uint64         `json:"epoch,omitempty"`
}

// ReportStorage stores what the owner observed. Owner and epoch have to be the
// stored ones. The phase of one being removed stays. When the owner reports
// that it observed the newest generation, a former password is forgotten.
//
// Result: none. Errors: ErrNotFound, ErrConflict (fenced).
type ReportStorage struct {
	ID     wire.FrameDBID     `json:"framedb_id"`
	Status wire.StorageStatus `json:"status"`
}

// PutIngestion stores how a source is taken in, new or instead of what was.
//
// Result: wire.Ingestion. Errors: ErrInvalidArgument, ErrNotFound (with the
// Field: target or queue.cluster is unknown), ErrConflict (it is being
// removed).
type PutIngestion struct {
	Source wire.SourceID      `json:"source_id"`
	Spec   wire.IngestionSpec `json:"spec"`
}

// DeleteIngestion takes it away; the source's frames are then taken in by the
// defaults. Result: wire.Ingestion as it was. Errors: ErrNotFound.
type DeleteIngestion struct {
	Source wire.SourceID `json:"source_id"`
}

func (CreateClusters) Type() CommandType   { return "cluster.create" }
func (UpdateCluster) Type() CommandType    { return "cluster.update" }
func (RemoveCluster) Type() CommandType    { return "cluster.remove" }
func (PurgeCluster) Type() CommandType     { return "cluster.purge" }
func (ReportCluster) Type() CommandType    { return "cluster.report" }
func (ImportCluster) Type() CommandType    { return "cluster.import" }
func (AssignOwner) Type() CommandType      { return "owner.assign" }
func (ReportUnattended) Type() CommandType { return "owner.unattended" }
func (ForgetLeftover) Type() CommandType   { return "leftover.forget" }
func (CreateMapping) Type() CommandType    { return "mapping.create" }
func (RemoveMapping) Type() CommandType    { return "mapping.remove" }
func (ReassignSource) Type() CommandType   { return "mapping.reassign" }
func (ReassignInstance) Type() CommandType { return "mapping.reassign_instance" }
func (UpdateMetadata) Type() CommandType   { return "mapping.metadata" }
func (RegisterNode) Type() CommandType     { return "node.register" }
func (LabelNode) Type() CommandType        { return "node.label" }
func (DrainNode) Type() CommandType        { return "node.drain" }
func (RemoveNode) Type() CommandType       { return "node.remove" }
func (CreateStorage) Type() CommandType    { return "storage.create" }
func (UpdateStorage) Type() CommandType    { return "storage.update" }
func (RemoveStorage) Type() CommandType    { return "storage.remove" }
func (PurgeStorage) Type() CommandType     { return "storage.purge" }
func (ReportStorage) Type() CommandType    { return "storage.report" }
func (PutIngestion) Type() CommandType     { return "ingestion.put" }
func (DeleteIngestion) Type() CommandType  { return "ingestion.delete" }
