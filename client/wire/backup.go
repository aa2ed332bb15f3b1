package wire

import (
	"regexp"
	"time"
)

// BackupName names one backup of a FrameDB: 1 to 100 lower-case letters,
// digits, '-', '_' and '.', starting and ending with a letter or digit.
type BackupName string

var backupName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9_.]{0,98}[a-z0-9])?$`)

// Validate returns an ErrInvalidArgument with Field "name".
func (n BackupName) Validate() error {
	if !backupName.MatchString(string(n)) {
		return InField("name", Errorf(CodeInvalidArgument, "%.200q is not 1 to 100 lower-case letters, digits, '-', '_' and '.', starting and ending with a letter or digit", string(n)))
	}
	return nil
}

// ManualBackup is the name of a backup that was asked for at a time without
// one.
func ManualBackup(at time.Time) BackupName {
	return BackupName("manual." + at.UTC().Format("20060102t150405.000") + "z")
}

// BackupTargetName names a place for backups in the agents' configuration: 1
// to 63 lower-case letters, digits and '-'.
type BackupTargetName string

// BackupTarget is a place for backups that an agent knows. It tells no secret,
// and not where secrets are.
type BackupTarget struct {
	Name     BackupTargetName `json:"name"`
	Endpoint string           `json:"endpoint"` // host or host:port
	Bucket   string           `json:"bucket"`
	Prefix   string           `json:"prefix,omitempty"`
	Region   string           `json:"region,omitempty"`
	Insecure bool             `json:"insecure,omitempty"` // plain HTTP
}

// CreateBackup is the body of POST /v1/framedbs/{framedb_id}/backups.
type CreateBackup struct {
	Target BackupTargetName `json:"target"`
	// Name of the backup; default ManualBackup of now. A backup that was
	// interrupted goes on whatever its name is.
	Name BackupName `json:"name,omitempty"`
	// Prefixes and Keys say which objects: all, when there is none of both.
	// Each of Keys has to be there.
	Prefixes []string `json:"prefixes,omitempty"`
	Keys     []string `json:"keys,omitempty"`
	// SkipDamaged leaves out objects whose bytes are damaged. Without it such
	// an object fails the backup.
	SkipDamaged bool `json:"skip_damaged,omitempty"`
}

// RestoreBackup is the body of POST …/backups/{backup}/restore.
type RestoreBackup struct {
	Target BackupTargetName `json:"target"`
	// To is the FrameDB that gets the objects; default the one that they are of.
	To FrameDBID `json:"to,omitempty"`
	// Prefixes and Keys say which objects of the backup: all, when there is
	// none of both. Each of Keys has to be in it.
	Prefixes []string `json:"prefixes,omitempty"`
	Keys     []string `json:"keys,omitempty"`
	// Overwrite replaces objects that are there and differ; they stay without
	// it.
	Overwrite bool `json:"overwrite,omitempty"`
	// IgnoreExpiry restores objects whose time is over, too, and all of them to
	// stay.
	IgnoreExpiry bool `json:"ignore_expiry,omitempty"`
}

// VerifyBackup is the body of POST …/backups/{backup}/verify.
type VerifyBackup struct {
	Target BackupTargetName `json:"target"`
}

// Backup is what is known of one backup of a FrameDB.
type Backup struct {
	Name    BackupName `json:"name"`
	FrameDB FrameDBID  `json:"framedb_id"`
	// Instant is the one of the schedule that it was made for; zero for a
	// backup that somebody asked for.
	Instant time.Time `json:"instant,omitzero"`
	// Prefixes and Keys are what was asked for; none when it was all.
	Prefixes []string `json:"prefixes,omitempty"`
	Keys     []string `json:"keys,omitempty"`
	// Created and Finished are when it was begun and ended. Each object is as
	// it was at some moment in between.
	Created  time.Time `json:"created,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// Objects and Bytes are how many are in it, and how large they are together.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Skipped is how many objects are not in it because they could not be read,
	// and the first of them.
	Skipped      int64           `json:"skipped,omitempty"`
	FirstSkipped []SkippedObject `json:"first_skipped,omitempty"`
	// Damaged says why it cannot be read; only Name and FrameDB stand then.
	Damaged string `json:"damaged,omitempty"`
}

// SkippedObject is an object that was left out, and why.
type SkippedObject struct {
	Key string `json:"key"`
	Why string `json:"why"`
}

// BackupProgress is how far a backup, restore or verification has come.
type BackupProgress struct {
	// Name is that of the backup.
	Name BackupName `json:"name"`
	// Objects and Bytes are done, of TotalObjects and TotalBytes, which are a
	// guess where objects come and go.
	Objects      int64 `json:"objects"`
	Bytes        int64 `json:"bytes"`
	TotalObjects int64 `json:"total_objects"`
	TotalBytes   int64 `json:"total_bytes"`
	// Moved is how many bytes of objects went to or came from S3.
	Moved int64 `json:"moved"`
}

// BackupReport says what making a backup did.
type BackupReport struct {
	Backup
	// Sent is how many bytes of objects went to S3; the others were there.
	Sent int64 `json:"sent"`
	// Gone is how many objects were deleted between listing and reading.
	Gone int64 `json:"gone,omitempty"`
}

// RestoreReport says what a restore did.
type RestoreReport struct {
	// Objects and Bytes were written.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Same is how many were there already as they are in the backup.
	Same int64 `json:"same"`
	// Kept is how many were there, differ, and stayed, and the first of them.
	Kept      int64    `json:"kept"`
	FirstKept []string `json:"first_kept,omitempty"`
	// Expired is how many were left out because their time is over.
	Expired int64 `json:"expired"`
}

// VerifyReport says what a verification found.
type VerifyReport struct {
	// Objects and Bytes are right.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Damaged is how many cannot be restored, and the first of them.
	Damaged      int64           `json:"damaged"`
	FirstDamaged []SkippedObject `json:"first_damaged,omitempty"`
}

// BackupLine is one line of the answer to what takes long, on the media type
// MediaLines. Lines with Progress come until the last one, which has Result (a
// BackupReport, RestoreReport or VerifyReport), Failure, or both: what was done
// in spite of a failure. An answer without such a line was cut off: ask again.
type BackupLine[Report any] struct {
	Progress *BackupProgress `json:"progress,omitempty"`
	Result   *Report         `json:"result,omitempty"`
	Failure  *Failure        `json:"failure,omitempty"`
}

// MediaLines is the media type of an answer of many lines of JSON.
const MediaLines = "application/x-ndjson"
