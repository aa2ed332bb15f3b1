package wire

import (
	"bytes"
	"encoding/json"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Bounds of a persistent FrameDB.
const (
	// MaxStorageReplicas bounds each kind of server of one persistent FrameDB.
	MaxStorageReplicas = 100
	// MaxParameters bounds all database parameters together, in bytes.
	MaxParameters = 64 << 10
	// MaxPassword bounds a password, in bytes.
	MaxPassword = 128
)

// DefaultStorageSize is that of the first FrameDB.
const DefaultStorageSize = "10Gi"

// StorageSpec is what a user asks of a persistent FrameDB. ApplyDefaults fills
// what is zero; Validate then holds for what is stored.
type StorageSpec struct {
	NodeTag NodeTag `json:"node_tag"`
	// StorageSize is the size of each TiKV's volume as Kubernetes writes it
	// ("10Gi"); default DefaultStorageSize. Where nothing can hold a server to
	// it, as with plain processes, it is what was asked for and no more.
	StorageSize string `json:"storage_size"`
	// Replicas are how many servers of each kind there are; each at least 1.
	// A server of another engine, or an external one, is one.
	Replicas StorageReplicas `json:"replicas"`
	// Parameters are configuration of the database.
	Parameters StorageParameters `json:"parameters,omitzero"`
	// External is a server that exists already, which FrameDB uses and never
	// starts or stops; nil has FrameDB run one.
	External *ExternalStorage `json:"external,omitempty"`
	// Exclusive says that no other program writes into data_table: a row that
	// is not what was stored is then damage, and never served.
	Exclusive bool `json:"exclusive,omitempty"`
	// Backup is when it is backed up, and to where; nil for never.
	Backup *BackupPlan `json:"backup,omitempty"`
}

// StorageReplicas counts the servers of TiDB.
type StorageReplicas struct {
	PD   int `json:"pd"`
	TiKV int `json:"tikv"`
	TiDB int `json:"tidb"`
}

// StorageParameters are JSON objects in the form of each server's
// configuration file. What is not TiDB takes the system variables in TiDB.
type StorageParameters struct {
	PD   json.RawMessage `json:"pd,omitempty"`
	TiKV json.RawMessage `json:"tikv,omitempty"`
	TiDB json.RawMessage `json:"tidb,omitempty"`
}

// ExternalStorage is a TiDB or MySQL server that exists already.
type ExternalStorage struct {
	Address  string `json:"address"`            // host:port
	User     string `json:"user,omitempty"`     // default "root"
	Database string `json:"database,omitempty"` // default DefaultDatabase; it has to exist, or the user may create it
	TLS      bool   `json:"tls,omitempty"`
}

// DefaultDatabase is the database that holds data_table.
const DefaultDatabase = "framedb"

// DefaultStorageUser is the user as whom FrameDB and applications connect.
const DefaultStorageUser = "root"

// BackupPlan says when a FrameDB is backed up.
type BackupPlan struct {
	// Schedule is a cron line of five fields in UTC, or "@every 6h", "@daily"
	// and the like.
	Schedule string `json:"schedule"`
	// Target is the name of a backup target in the agents' configuration.
	Target string `json:"target"`
	// Keep is how many complete backups stay; 0 keeps all.
	Keep int `json:"keep,omitempty"`
}

// PersistentInstance is a FrameDB on disk.
type PersistentInstance struct {
	ID FrameDBID `json:"framedb_id"`
	StorageSpec
	// Generation counts the changes of the spec and the password, from 1.
	Generation  uint64        `json:"generation"`
	Status      StorageStatus `json:"status"`
	CreateIndex uint64        `json:"create_index"`
	ModifyIndex uint64        `json:"modify_index"`
}

// StorageStatus is what the owner last reported of a persistent FrameDB.
type StorageStatus struct {
	Phase Phase `json:"phase"`
	// Reason says in one sentence why it is not ready; empty when it is.
	Reason string `json:"reason,omitempty"`
	// ObservedGeneration is the newest generation that was brought about.
	ObservedGeneration uint64 `json:"observed_generation"`
	// Engine is what really holds the data: "tidb", "mariadb" or "mysql";
	// empty until it was asked.
	Engine Engine `json:"engine,omitempty"`
	// Version is the server's own.
	Version string `json:"version,omitempty"`
	// URL is mysql://host:port, without credentials.
	URL string `json:"url,omitempty"`
	// Socket is the server's unix socket on Node, empty where there is none.
	Socket string `json:"socket,omitempty"`
	// Node is where the server is, if it is on one node.
	Node NodeName `json:"node,omitempty"`
	// Ready counts the servers that are ready.
	Ready StorageReplicas `json:"ready"`
	// LastBackup names the last complete backup; BackupReason says why a later
	// one failed.
	LastBackup   string    `json:"last_backup,omitempty"`
	LastBackupAt time.Time `json:"last_backup_at,omitzero"`
	BackupReason string    `json:"backup_reason,omitempty"`
	// Owner is the node whose agent works on it.
	Owner NodeName `json:"owner,omitempty"`
	// OwnerEpoch grows with each change of owner and fences the former one.
	OwnerEpoch uint64 `json:"owner_epoch"`
}

// Engine is a kind of database server.
type Engine string

const (
	EngineTiDB    Engine = "tidb"
	EngineMariaDB Engine = "mariadb"
	EngineMySQL   Engine = "mysql"
)

// CreateStorage is the body of POST /v1/storage.
type CreateStorage struct {
	ID FrameDBID `json:"framedb_id"`
	StorageSpec
	// Password of the user; without it, the deployment's.
	Password string `json:"password,omitempty"`
}

// UpdateStorage is the body of PATCH /v1/storage/{framedb_id}; what is absent
// stays as it is, and so does each count of Replicas that is 0. Parameters of a
// kind of server replace those it had; {} takes them away.
type UpdateStorage struct {
	StorageSize *string            `json:"storage_size,omitempty"`
	Replicas    *StorageReplicas   `json:"replicas,omitempty"`
	Parameters  *StorageParameters `json:"parameters,omitempty"`
	External    *ExternalStorage   `json:"external,omitempty"`
	Exclusive   *bool              `json:"exclusive,omitempty"`
	// Backup with an empty schedule ends backups.
	Backup   *BackupPlan `json:"backup,omitempty"`
	Password *string     `json:"password,omitempty"`
}

// ApplyDefaults fills fields that are zero; NodeTag has no default.
func (s *StorageSpec) ApplyDefaults() {
	if s.StorageSize == "" {
		s.StorageSize = DefaultStorageSize
	}
	for _, n := range []*int{&s.Replicas.PD, &s.Replicas.TiKV, &s.Replicas.TiDB} {
		if *n == 0 {
			*n = 1
		}
	}
	if s.Backup != nil && *s.Backup == (BackupPlan{}) {
		s.Backup = nil
	}
	if s.External == nil {
		return
	}
	external := *s.External
	if external.User == "" {
		external.User = DefaultStorageUser
	}
	if external.Database == "" {
		external.Database = DefaultDatabase
	}
	s.External = &external
}

var (
	quantity   = regexp.MustCompile(`^[1-9][0-9]{0,11}([KMGTP]i|[kMGTP])?$`)
	identifier = regexp.MustCompile(`^[A-Za-z0-9_][-A-Za-z0-9_]{0,63}$`)
)

// Validate checks each field and returns an Error whose Field is the JSON name
// of the first one at fault. Schedules are checked by who runs them.
func (s *StorageSpec) Validate() error {
	if err := s.NodeTag.Validate(); err != nil {
		return InField("node_tag", err)
	}
	if !quantity.MatchString(s.StorageSize) {
		return InField("storage_size", Errorf(CodeInvalidArgument, "%q is no size: give a whole number of bytes, with Ki, Mi, Gi or Ti behind it", s.StorageSize))
	}
	for _, n := range []struct {
		name  string
		count int
	}{{"pd", s.Replicas.PD}, {"tikv", s.Replicas.TiKV}, {"tidb", s.Replicas.TiDB}} {
		if n.count < 1 || n.count > MaxStorageReplicas {
			return InField("replicas."+n.name, Errorf(CodeInvalidArgument, "%d is out of range: give 1 to %d", n.count, MaxStorageReplicas))
		}
	}
	if err := s.Parameters.validate(); err != nil {
		return err
	}
	if err := s.External.validate(); err != nil {
		return err
	}
	return s.Backup.validate()
}

func (p *StorageParameters) validate() error {
	total := 0
	for _, part := range []struct {
		name string
		text json.RawMessage
	}{{"pd", p.PD}, {"tikv", p.TiKV}, {"tidb", p.TiDB}} {
		total += len(part.text)
		if len(part.text) > 0 && (!json.Valid(part.text) || bytes.TrimSpace(part.text)[0] != '{') {
			return InField("parameters."+part.name, Errorf(CodeInvalidArgument, "it is no JSON object"))
		}
	}
	if total > MaxParameters {
		return InField("parameters", Errorf(CodeInvalidArgument, "they have %d bytes: at most %d are allowed", total, MaxParameters))
	}
	return nil
}

func (e *ExternalStorage) validate() error {
	if e == nil {
		return nil
	}
	host, port, err := net.SplitHostPort(e.Address)
	if n, bad := strconv.Atoi(port); err != nil || host == "" || strings.ContainsAny(host, " /@?") || bad != nil || n < 1 || n > 65535 {
		return InField("external.address", Errorf(CodeInvalidArgument, "%q is not host:port", e.Address))
	}
	if !identifier.MatchString(e.Database) {
		return InField("external.database", Errorf(CodeInvalidArgument, "%q is not allowed: give up to 64 letters, digits, '_' and '-'", e.Database))
	}
	if e.User == "" || len(e.User) > 80 || !printable.MatchString(e.User) || strings.ContainsAny(e.User, ":@/") {
		return InField("external.user", Errorf(CodeInvalidArgument, "%q is no user: give up to 80 printable characters without ':', '@' and '/'", e.User))
	}
	return nil
}

func (p *BackupPlan) validate() error {
	switch {
	case p == nil:
		return nil
	case p.Schedule == "" || len(p.Schedule) > 200:
		return InField("backup.schedule", Errorf(CodeInvalidArgument, "give a cron line of five fields, or \"@every 6h\" or the like"))
	case !labelValue.MatchString(p.Target) || len(p.Target) > MaxNodeTag:
		return InField("backup.target", Errorf(CodeInvalidArgument, "%q is no name of a backup target of the agents' configuration", p.Target))
	case p.Keep < 0 || p.Keep > 100_000:
		return InField("backup.keep", Errorf(CodeInvalidArgument, "%d is out of range: give 0 to keep all, or at most 100000", p.Keep))
	}
	return nil
}

// ValidatePassword returns an ErrInvalidArgument with Field "password" when it
// is too long or not printable ASCII. The empty one means the deployment's.
func ValidatePassword(p string) error {
	if len(p) > MaxPassword || !printable.MatchString(p) {
		return InField("password", Errorf(CodeInvalidArgument, "give at most %d printable ASCII characters without spaces", MaxPassword))
	}
	return nil
}
