package backup

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// Name names one backup of a FrameDB.
type Name = wire.BackupName

// JobName names a schedule of backups. A lower-case DNS label.
type JobName string

var jobName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Validate returns an ErrInvalidArgument with Field "job".
func (n JobName) Validate() error {
	if !jobName.MatchString(string(n)) {
		return invalid("job", "%.200q is not 1 to 63 lower-case letters, digits and '-', starting and ending with a letter or digit", string(n))
	}
	return nil
}

// At is the backup that the job makes for an instant, in UTC: whoever runs the
// job, and however often, makes the same one.
func (n JobName) At(instant time.Time) Name {
	return Name(string(n) + "." + instant.UTC().Format("20060102t150405z"))
}

// runID names one attempt to make a backup. It is part of the names of what
// that attempt uploads, so that no other attempt ever writes them.
type runID [8]byte

func newRun() (r runID) {
	rand.Read(r[:]) // never fails
	return r
}

func (r runID) String() string { return hex.EncodeToString(r[:]) }

func (r runID) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r *runID) UnmarshalText(text []byte) error { return unhex(r[:], text) }

// entityTag is what S3 itself calls the bytes that it stored: with most servers
// their MD5. Zero for one that is not 32 hexadecimal digits.
type entityTag [16]byte

func (m entityTag) IsZero() bool { return m == entityTag{} }

func (m entityTag) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(m[:])), nil }

func (m *entityTag) UnmarshalText(text []byte) error { return unhex(m[:], text) }

func unhex(dst, text []byte) error {
	if len(text) != 2*len(dst) {
		return wire.Errorf(wire.CodeCorrupt, "%.40q is not %d hexadecimal digits", text, 2*len(dst))
	}
	if _, err := hex.Decode(dst, text); err != nil {
		return wire.Errorf(wire.CodeCorrupt, "%.40q is not hexadecimal", text)
	}
	return nil
}
