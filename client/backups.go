package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const framedbsPath = "/v1/framedbs"

// BackupTargets returns the places for backups that the agent knows.
func (c *Client) BackupTargets(ctx context.Context) ([]wire.BackupTarget, error) {
	return ask[[]wire.BackupTarget](ctx, c, newRequest(http.MethodGet, "/v1/backup-targets"))
}

// Backups returns the backups of a FrameDB at a target, the oldest first. The
// FrameDB need not be there any more. Of a cluster they are the same for each
// member and for its name.
//
// Errors: ErrNotFound (Field says what: "target", or "target.bucket"),
// ErrForbidden (Field is the file of the target), ErrUnavailable.
func (c *Client) Backups(ctx context.Context, id wire.FrameDBID, target wire.BackupTargetName) ([]wire.Backup, error) {
	return ask[[]wire.Backup](ctx, c, backupsOf(http.MethodGet, id).with("target", string(target)))
}

// DeleteBackup deletes a backup; what others use of it stays.
//
// Errors: ErrNotFound with Field "backup", those of Backups.
func (c *Client) DeleteBackup(ctx context.Context, id wire.FrameDBID, name wire.BackupName, target wire.BackupTargetName) error {
	_, err := c.send(ctx, backupsOf(http.MethodDelete, id).at(name).with("target", string(target)))
	return err
}

// CreateBackup has an agent back up a FrameDB, and calls progress, if it is not
// nil, with how far that is. It goes on at another agent when one is lost, and
// when it was interrupted and is asked for again: what was sent is not sent
// again.
//
// Errors: ErrAlreadyExists with Field "name", ErrNotFound with Field
// "framedb_id" or "keys", ErrCorrupt (an object is damaged), those of Backups.
func (c *Client) CreateBackup(ctx context.Context, id wire.FrameDBID, in wire.CreateBackup, progress func(wire.BackupProgress)) (wire.BackupReport, error) {
	if in.Name == "" {
		in.Name = wire.ManualBackup(time.Now())
	}
	report, cut, err := work[wire.BackupReport](ctx, c, backupsOf(http.MethodPost, id).json(in), progress)
	if !cut || !errors.Is(err, wire.ErrAlreadyExists) {
		return report, err
	}
	all, lerr := c.Backups(ctx, id, in.Target) // the try that was cut off had made it
	for _, b := range all {
		if b.Name == in.Name {
			return wire.BackupReport{Backup: b}, nil
		}
	}
	return report, errors.Join(err, lerr)
}

// RestoreBackup has an agent write the objects of a backup into a FrameDB, the
// one that they are of or another one, and is otherwise as CreateBackup.
//
// Errors: ErrNotFound with Field "backup", "to", "framedb_id" or "keys",
// ErrCorrupt, those of Backups.
func (c *Client) RestoreBackup(ctx context.Context, id wire.FrameDBID, name wire.BackupName, in wire.RestoreBackup, progress func(wire.BackupProgress)) (wire.RestoreReport, error) {
	report, _, err := work[wire.RestoreReport](ctx, c, backupsOf(http.MethodPost, id).at(name).sub("restore").json(in), progress)
	return report, err
}

// VerifyBackup has an agent read all bytes of a backup and compare them with
// what was stored.
//
// Errors: ErrCorrupt, with a report that tells which objects are damaged;
// ErrNotFound with Field "backup", those of Backups.
func (c *Client) VerifyBackup(ctx context.Context, id wire.FrameDBID, name wire.BackupName, target wire.BackupTargetName, progress func(wire.BackupProgress)) (wire.VerifyReport, error) {
	in := wire.VerifyBackup{Target: target}
	report, _, err := work[wire.VerifyReport](ctx, c, backupsOf(http.MethodPost, id).at(name).sub("verify").json(in), progress)
	return report, err
}

func backupsOf(method string, id wire.FrameDBID) request {
	return newRequest(method, framedbsPath).at(id).sub("backups")
}

// work asks for what takes long until an agent has done it, the answer is
// final, ctx ends, or RetryFor has passed without progress. Cut says that a try
// may have done it all and its answer was lost.
func work[Report any](ctx context.Context, c *Client, r request, progress func(wire.BackupProgress)) (report Report, cut bool, err error) {
	if r.err != nil {
		return report, false, r.err
	}
	pauses := newPauses(c.cfg.RetryFor, maxPause)
	for {
		tries, after := 1, time.Duration(0)
		agent, err := c.agents.current(ctx)
		if err == nil {
			var heard, again bool
			report, heard, err = workAt[Report](ctx, c, agent, r, progress)
			if err == nil {
				return report, cut, nil
			}
			if again, after = retryable(err); !again && ctx.Err() == nil {
				return report, cut, err
			}
			cut = cut || unsure(err)
			if heard {
				pauses = newPauses(c.cfg.RetryFor, maxPause)
			}
			c.log.Info("work broke off", "path", r.path, "agent", agent.addr, "err", err)
			tries = c.agents.leave(ctx, agent, err)
		}
		if !pauses.next(ctx, tries, after) {
			return report, cut, coded(ctx, err, false) // asked again, it goes on
		}
	}
}

// workAt is one try at one agent. Heard says that it made progress.
func workAt[Report any](ctx context.Context, c *Client, a *agent, r request, progress func(wire.BackupProgress)) (report Report, heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dead := time.AfterFunc(c.silence, cancel) // an agent says each 15 s that it is alive
	defer dead.Stop()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url(a.base), bytes.NewReader(r.body))
	if err != nil {
		return report, false, wire.Errorf(wire.CodeInvalidArgument, "%v", err)
	}
	req.Header.Set("Content-Type", r.media)
	res, err := a.http.Do(req)
	if err != nil {
		return report, false, newTransportError(a.addr, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return report, false, refusal(a, res)
	}
	lines := json.NewDecoder(res.Body)
	for {
		var line wire.BackupLine[Report]
		if err := lines.Decode(&line); err != nil {
			return report, heard, &transportError{addr: a.addr, err: err, sent: true}
		}
		dead.Reset(c.silence)
		if line.Result != nil {
			report = *line.Result
		}
		switch {
		case line.Failure != nil:
			e := line.Failure.Error
			e.RetryAfter = time.Duration(line.Failure.RetryAfterMS) * time.Millisecond
			return report, heard, &e
		case line.Result != nil:
			return report, heard, nil
		case line.Progress != nil:
			heard = heard || line.Progress.Bytes > 0 || line.Progress.Objects > 0
			if progress != nil {
				progress(*line.Progress)
			}
		}
	}
}
