// Package state is FrameDB's replicated state: the tables, the commands that
// change them, Apply, which is a pure function of the log, and snapshots. It
// knows nothing of Raft, clocks or networks.
package state

import (
	"encoding/json"
	"errors"
	"sync/atomic"

	memdb "github.com/hashicorp/go-memdb"

	"github.com/framedb/framedb/client/wire"
)

// Result is what applying a command gave.
type Result struct {
	// Index is the log index at which the command was applied; for a repeated
	// request ID, that of the first time.
	Index uint64 `json:"index"`
	// Value is the result as JSON, empty where the command has none.
	Value json.RawMessage `json:"value,omitempty"`
	// Err says why the command was refused; nothing was changed then.
	Err *wire.Error `json:"error,omitempty"`
}

// State is the tables. Apply and Restore are called by one goroutine; all
// else is safe for concurrent use.
type State struct {
	tables atomic.Pointer[tables]
	events *history
}

// tables is what Restore replaces as a whole.
type tables struct {
	db       *memdb.MemDB
	replaced chan struct{} // closed when other tables took this one's place
}

// New returns an empty state.
func New() *State {
	s := &State{events: newHistory()}
	s.tables.Store(&tables{db: newDB(), replaced: make(chan struct{})})
	return s
}

// View returns the state as of one index. It never blocks and stays as it is.
func (s *State) View() *View {
	t := s.tables.Load()
	return newView(t.db.Txn(false), t.replaced)
}

// Entry is an envelope at its index in the log.
type Entry struct {
	Index    uint64
	Envelope []byte
}

// Apply decodes and applies one envelope at a log index. It never fails: a
// command that cannot be applied gives a Result with Err and changes nothing.
// That holds for a command of an unknown type too, so that agents of two
// versions disagree about nothing but that command; a new command type is
// therefore proposed only once every agent knows it.
func (s *State) Apply(index uint64, envelope []byte) Result {
	return s.ApplyAll([]Entry{{index, envelope}})[0]
}

// ApplyAll is Apply of one entry after the other, in the order of their
// indexes. Views see all of them or none, and together they cost little more
// than one.
func (s *State) ApplyAll(entries []Entry) []Result {
	if results, ok := s.together(entries); ok {
		return results
	}
	// One was refused when it had written already: what it wrote is undone by
	// dropping the transaction.
	results := make([]Result, 0, len(entries))
	for i := range entries {
		one, ok := s.together(entries[i : i+1])
		if !ok {
			s.refuse(entries[i], one[0])
		}
		results = append(results, one...)
	}
	return results
}

// together applies entries in one transaction, which is dropped when a command
// was refused that had written something. The last result is that command's
// then.
func (s *State) together(entries []Entry) (results []Result, ok bool) {
	t := newTx(s.tables.Load().db)
	defer t.txn.Abort()
	var commits []commit
	for _, e := range entries {
		t.begin(e.Index)
		env, res := t.run(e)
		results = append(results, res)
		if res.Err != nil && t.wrote {
			return results, false
		}
		t.remember(env, res)
		if len(t.changes) > 0 {
			commits = append(commits, commit{index: e.Index, changes: t.changes})
		}
	}
	t.commit()
	for _, c := range commits {
		s.events.add(c)
	}
	return results, true
}

// refuse changes nothing but the applied index and what is remembered.
func (s *State) refuse(e Entry, res Result) {
	t := newTx(s.tables.Load().db)
	t.begin(e.Index)
	if env, _, err := decode(e.Envelope); err == nil {
		t.remember(env, res)
	}
	t.commit()
}

// run returns the result and the envelope under which it is to be remembered,
// which is empty where it is not. A refusal is remembered too: else one that
// the caller takes for refused could be applied when its double comes late.
func (t *tx) run(e Entry) (Envelope, Result) {
	env, cmd, err := decode(e.Envelope)
	if err != nil {
		return Envelope{}, Result{Index: e.Index, Err: wire.AsError(err)}
	}
	if first, ok := t.remembered(env.RequestID); ok {
		return Envelope{}, first
	}
	res := Result{Index: e.Index}
	value, err := cmd.apply(t)
	if err == nil && value != nil {
		res.Value, err = json.Marshal(value)
	}
	if err != nil {
		res = Result{Index: e.Index, Err: wire.AsError(err)}
	}
	return env, res
}

func decode(envelope []byte) (Envelope, applier, error) {
	env, err := Decode(envelope)
	if err != nil {
		return env, nil, err
	}
	if err := env.RequestID.Validate(); err != nil {
		return env, nil, err
	}
	read, ok := readers[env.Type]
	if !ok {
		return env, nil, wire.Errorf(wire.CodeInvalidArgument, "command %q is unknown to this agent: upgrade it", env.Type)
	}
	cmd, err := read(env.Body)
	return env, cmd, err
}

// applier is a command that can change the tables. An error means that the
// transaction is dropped.
type applier interface {
	Command
	apply(*tx) (any, error)
}

// readers decode the body of each command type.
var readers = map[CommandType]func(json.RawMessage) (applier, error){
	CreateClusters{}.Type():   read[CreateClusters],
	UpdateCluster{}.Type():    read[UpdateCluster],
	RemoveCluster{}.Type():    read[RemoveCluster],
	PurgeCluster{}.Type():     read[PurgeCluster],
	ReportCluster{}.Type():    read[ReportCluster],
	ImportCluster{}.Type():    read[ImportCluster],
	AssignOwner{}.Type():      read[AssignOwner],
	ReportUnattended{}.Type(): read[ReportUnattended],
	ForgetLeftover{}.Type():   read[ForgetLeftover],
	CreateMapping{}.Type():    read[CreateMapping],
	RemoveMapping{}.Type():    read[RemoveMapping],
	ReassignSource{}.Type():   read[ReassignSource],
	ReassignInstance{}.Type(): read[ReassignInstance],
	UpdateMetadata{}.Type():   read[UpdateMetadata],
	RegisterNode{}.Type():     read[RegisterNode],
	LabelNode{}.Type():        read[LabelNode],
	DrainNode{}.Type():        read[DrainNode],
	RemoveNode{}.Type():       read[RemoveNode],
	CreateStorage{}.Type():    read[CreateStorage],
	UpdateStorage{}.Type():    read[UpdateStorage],
	RemoveStorage{}.Type():    read[RemoveStorage],
	PurgeStorage{}.Type():     read[PurgeStorage],
	ReportStorage{}.Type():    read[ReportStorage],
	PutIngestion{}.Type():     read[PutIngestion],
	DeleteIngestion{}.Type():  read[DeleteIngestion],
}

func read[C applier](body json.RawMessage) (applier, error) {
	var cmd C
	if err := json.Unmarshal(body, &cmd); err != nil {
		var typeErr *json.UnmarshalTypeError
		if errors.As(err, &typeErr) {
			return nil, wire.InField(typeErr.Field, wire.Errorf(wire.CodeInvalidArgument, "%s is no %s", typeErr.Value, typeErr.Type))
		}
		return nil, wire.Errorf(wire.CodeMalformed, "command body: %v", err)
	}
	return cmd, nil
}
