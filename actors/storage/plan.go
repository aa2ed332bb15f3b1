package storage

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// A spec that cannot be brought about, or a server that dies again and again,
// is tried after pauses that double from the first to the longest.
const (
	firstPause   = time.Second
	longestPause = time.Minute
	// calm is how long a server has run well when its next death is its first.
	calm = 5 * time.Minute
	// overlap is how long a former password is still taken where the database
	// can do that, once everybody is told the new one.
	overlap = time.Minute
	// backupPause is between a backup that failed and the next try.
	backupPause = 10 * time.Minute
)

// Input is what a plan is made of.
type Input struct {
	Now time.Time
	Row wire.PersistentInstance
	// Changing says that the database may still have the former password.
	Changing bool
	// Bound says that what was deployed is on one node, with its data.
	Bound bool
	Seen  Observation
	Past  Past
	// Backup is what there is to know of backups, where there is a plan.
	Backup BackupState
}

// Observation is what was seen in one round.
type Observation struct {
	// Err says that nothing could be seen.
	Err error
	deploy.Storage
	// AskErr is what the server answered when it was asked, if it runs; Engine
	// and Version are its answer else.
	AskErr error
}

// answers reports whether a server runs and lets us in.
func (o *Observation) answers() bool { return o.Running && o.AskErr == nil }

// Past is what was done; it is lost with the process, which then tries once.
type Past struct {
	// Applied is the generation that the driver has brought about, Tried the
	// last that it was asked for, Prepared the one in which the database was
	// seen to have all that it needs.
	Applied, Tried, Prepared uint64
	// Failure is why the last Apply or Prepare failed.
	Failure string
	// AppliedAt is when the driver was last asked, and Pause how long it is
	// left alone from then on.
	AppliedAt time.Time
	Pause     time.Duration
	// Overlap says since when the database takes two passwords; zero if not.
	Overlap time.Time
	// BackupFailedAt is zero when the last backup did not fail.
	BackupFailedAt time.Time
}

// BackupState is what there is to know of a FrameDB's backups.
type BackupState struct {
	Running bool
	Due     bool
	// Err is why nothing can be backed up: the plan itself is wrong.
	Err error
	// Ended is how the last one ended, if that is news.
	Ended *backupEnd
}

// backupEnd is how a backup ended.
type backupEnd struct {
	name string
	at   time.Time // when it was begun: what was written later may not be in it
	err  error
}

// Action is one step of a plan.
type Action interface {
	// String says in a few words what is done.
	String() string
}

// Apply has the driver bring about the spec and the password.
type Apply struct{}

// Prepare makes what is missing in the database.
type Prepare struct{}

// BackUp starts a backup.
type BackUp struct{}

// Purge removes everything of the FrameDB, then its row.
type Purge struct{}

func (Apply) String() string   { return "deploy its servers" }
func (Prepare) String() string { return "prepare its database" }
func (BackUp) String() string  { return "back it up" }
func (Purge) String() string   { return "remove it" }

// Plan is what to do, and what to report.
type Plan struct {
	Actions []Action
	Report  wire.StorageStatus
}

// MakePlan decides. It is pure.
func MakePlan(in Input) Plan {
	p := planner{Input: in}
	switch {
	case in.Row.Status.Phase == wire.PhaseRemoving:
		p.do(Purge{})
		return Plan{p.actions, in.Row.Status}
	case in.Seen.Err != nil: // what could not be seen is not wrong
		return Plan{nil, p.unseen(fmt.Sprintf("it could not be seen: %v", in.Seen.Err))}
	}
	if p.wantsApply() && !p.vanished() && p.due() {
		p.do(Apply{})
	}
	if in.Seen.answers() && p.settled() && !p.prepared() {
		p.do(Prepare{})
	}
	report := p.report()
	if report.Phase == wire.PhaseReady && in.Backup.Due && !in.Backup.Running && in.Now.Sub(in.Past.BackupFailedAt) >= backupPause {
		p.do(BackUp{})
	}
	return Plan{p.actions, report}
}

type planner struct {
	Input
	actions []Action
}

func (p *planner) do(a Action) { p.actions = append(p.actions, a) }

// wantsApply reports whether anything differs from what there is to be.
func (p *planner) wantsApply() bool {
	return !p.Seen.Exists || p.Seen.NeedsApply || !p.settled() ||
		errors.Is(p.Seen.AskErr, wire.ErrForbidden) || p.overlapIsOver()
}

func (p *planner) overlapIsOver() bool {
	return !p.Changing && !p.Past.Overlap.IsZero() && p.Now.Sub(p.Past.Overlap) >= overlap
}

// vanished reports that nothing is left of what was there: made anew it would
// be empty, and nobody would notice that the data is gone.
func (p *planner) vanished() bool {
	return p.Bound && !p.Seen.Exists && p.Row.Status.Phase != wire.PhaseCreating
}

// due reports whether the driver may be asked: at once for what is new, and
// after a pause for what was tried.
func (p *planner) due() bool {
	return p.Past.Tried != p.Row.Generation || p.Now.Sub(p.Past.AppliedAt) >= p.Past.Pause
}

// tried is the past once the driver was asked.
func (p Past) tried(now time.Time, generation uint64) Past {
	switch {
	case p.Tried != generation || now.Sub(p.AppliedAt) > calm:
		p.Pause = firstPause
	default:
		p.Pause = min(2*p.Pause, longestPause)
	}
	p.Tried, p.AppliedAt = generation, now
	return p
}

func (p *planner) report() wire.StorageStatus {
	s := p.Row.Status
	s.Reason = strings.Join(p.problems(), "; ")
	s.Phase = phase(s.Phase, s.Reason == "")
	s.Ready, s.Node, s.Socket = p.Seen.Ready, p.Seen.Node, p.Seen.Socket
	if !p.Seen.answers() {
		s.Ready.TiDB = 0
	}
	if p.Seen.Running {
		s.URL = "mysql://" + net.JoinHostPort(p.Seen.Host, strconv.Itoa(p.Seen.Port))
	}
	if p.Seen.Engine != "" {
		s.Engine, s.Version = p.Seen.Engine, p.Seen.Version
	}
	if s.Reason == "" && p.settled() && p.prepared() {
		s.ObservedGeneration = p.Row.Generation
	}
	p.reportBackup(&s)
	return s
}

func (p *planner) reportBackup(s *wire.StorageStatus) {
	switch end := p.Backup.Ended; {
	case p.Row.Backup == nil:
		s.BackupReason = ""
	case p.Backup.Err != nil:
		s.BackupReason = wire.AsError(p.Backup.Err).Message
	case end != nil && end.err != nil:
		s.BackupReason = fmt.Sprintf("the backup that began at %s failed: %v", end.at.UTC().Format(time.RFC3339), end.err)
	case end != nil:
		s.LastBackup, s.LastBackupAt, s.BackupReason = end.name, end.at.UTC(), ""
	}
}

// problems are what keeps it from being ready, in words that a user reads.
func (p *planner) problems() []string {
	var all []string
	never := p.Row.Status.ObservedGeneration == 0
	switch seen := &p.Seen; {
	case p.vanished():
		all = append(all, fmt.Sprintf("nothing is left of it on %s: bring its files back from a backup, or remove it and create it anew", p.Row.Status.Owner))
	case p.Past.Failure != "" && !(p.settled() && p.prepared() && seen.answers()):
		all = append(all, p.Past.Failure)
	case !seen.Exists:
		all = append(all, "it is being made")
	case seen.Reason != "":
		all = append(all, seen.Reason)
	case !seen.Running:
		all = append(all, "its server does not run")
	case errors.Is(seen.AskErr, wire.ErrForbidden):
		all = append(all, "its server refuses the password that FrameDB has: set the right one")
	case seen.AskErr != nil:
		all = append(all, fmt.Sprintf("its server runs and does not answer yet: %v", seen.AskErr))
	case never && !p.settled():
		all = append(all, "it is being made")
	case never && !p.prepared():
		all = append(all, "its database is being prepared")
	}
	return all
}

// settled reports whether the driver has brought about the newest generation,
// and prepared whether all was in the database then.
func (p *planner) settled() bool  { return p.Past.Applied == p.Row.Generation }
func (p *planner) prepared() bool { return p.Past.Prepared == p.Row.Generation }

// unseen leaves everything that was seen earlier as it is.
func (p *planner) unseen(reason string) wire.StorageStatus {
	s := p.Row.Status
	s.Reason = reason
	s.Phase = phase(s.Phase, false)
	return s
}

// Crashed is the report of a FrameDB whose actor crashed: only the reason is
// new.
func Crashed(row wire.PersistentInstance, reason string) wire.StorageStatus {
	return (&planner{Input: Input{Row: row}}).unseen(reason)
}

// phase is what follows on old: creating lasts until all was well once.
func phase(old wire.Phase, well bool) wire.Phase {
	switch {
	case well:
		return wire.PhaseReady
	case old == wire.PhaseCreating, old == wire.PhaseRemoving:
		return old
	}
	return wire.PhaseDegraded
}
