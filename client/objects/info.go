package objects

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"github.com/framedb/framedb/client/wire"
)

// Sum is the checksum of an object's bytes: xxh3-128 (seed 0), most
// significant byte first. It guards against damage, not against an attacker.
type Sum [16]byte

// SumOf is the checksum of data.
func SumOf(data []byte) Sum { return xxh3.Hash128(data).Bytes() }

// Summer computes the Sum of all that is written to it.
type Summer struct{ hash *xxh3.Hasher128 }

// NewSummer makes one of no bytes.
func NewSummer() *Summer { return &Summer{xxh3.New128()} }

// Write never fails.
func (s *Summer) Write(p []byte) (int, error) { return s.hash.Write(p) }

// Sum is of what was written so far.
func (s *Summer) Sum() Sum { return s.hash.Sum128().Bytes() }

// ParseSum reads the 32 hexadecimal digits that String gives.
//
// Errors: ErrInvalidArgument.
func ParseSum(s string) (Sum, error) {
	var sum Sum
	if len(s) != 2*len(sum) {
		return sum, wire.Errorf(wire.CodeInvalidArgument, "checksum %q is not %d hexadecimal digits", s, 2*len(sum))
	}
	if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
		return sum, wire.Errorf(wire.CodeInvalidArgument, "checksum %q is not hexadecimal", s)
	}
	return sum, nil
}

func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText gives what String gives.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String gives.
func (s *Sum) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSum(string(text))
	return err
}

// ETag is the strong entity tag of HTTP for bytes with this checksum, quotes
// included. It says nothing about metadata.
func (s Sum) ETag() string { return `"` + s.String() + `"` }

// Info is what is known of one object.
type Info struct {
	Key Key `json:"key"`
	// Size in bytes.
	Size int64 `json:"size"`
	// Sum is of all its bytes.
	Sum Sum `json:"checksum"`
	// ContentType is as the writer gave it; empty when it gave none.
	ContentType string `json:"content_type,omitempty"`
	// User is the writer's own metadata.
	User map[string]string `json:"user,omitempty"`
	// Created is when the key came into being, Modified when these bytes were
	// stored, both by the database's clock, in milliseconds. Zero for an
	// object that another program wrote.
	Created  time.Time `json:"created,omitzero"`
	Modified time.Time `json:"modified,omitzero"`
	// Expires is when the object goes; zero when it stays.
	Expires time.Time `json:"expires,omitzero"`
	// Foreign is true for bytes that another program stored with the
	// database's own commands: there is no metadata, and Sum was computed when
	// it was read and proves nothing about what was written.
	Foreign bool `json:"foreign,omitempty"`
}

// Bounds of metadata.
const (
	MaxContentType = 255
	MaxUserBytes   = 8 << 10 // of all names and values together
	MaxUserName    = 64
)

// checkMetadata keeps metadata to what fits into HTTP headers.
func checkMetadata(contentType string, user map[string]string) error {
	if len(contentType) > MaxContentType || !printable(contentType) {
		return wire.InField("content_type", wire.Errorf(wire.CodeInvalidArgument, "give at most %d printable characters", MaxContentType))
	}
	total := 0
	for name, value := range user {
		total += len(name) + len(value)
		if name == "" || len(name) > MaxUserName || strings.IndexFunc(name, notInName) >= 0 {
			return wire.InField("user", wire.Errorf(wire.CodeInvalidArgument,
				"name %q is not 1 to %d lower-case letters, digits, '-', '_' and '.'", name, MaxUserName))
		}
		if !printable(value) {
			return wire.InField("user", wire.Errorf(wire.CodeInvalidArgument, "the value of %q is not printable UTF-8", name))
		}
	}
	if total > MaxUserBytes {
		return wire.InField("user", wire.Errorf(wire.CodeInvalidArgument, "it has %d bytes: at most %d are allowed", total, MaxUserBytes))
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

// Condition is what must hold of the object under the key for a change to
// happen. The zero value always holds. It is checked in the same atomic step
// as the change.
type Condition struct {
	// IfAbsent: there is no such object.
	IfAbsent bool
	// IfPresent: there is one, whichever.
	IfPresent bool
	// IfMatch, when not empty: there is one and its checksum is among these.
	// Because a checksum names bytes, an object that was changed and changed
	// back matches again.
	IfMatch []Sum
}

// Always reports whether no object can break the condition.
func (c Condition) Always() bool { return !c.IfAbsent && !c.IfPresent && len(c.IfMatch) == 0 }

// Check returns an ErrPrecondition unless the condition holds for the object
// that is there; found is false when there is none.
func (c Condition) Check(found bool, sum Sum) error {
	switch {
	case c.IfAbsent && found:
		return wire.Errorf(wire.CodePrecondition, "there is an object under this key")
	case c.IfPresent && !found:
		return wire.Errorf(wire.CodePrecondition, "there is no object under this key")
	case len(c.IfMatch) > 0 && (!found || !slices.Contains(c.IfMatch, sum)):
		return wire.Errorf(wire.CodePrecondition, "the object under this key has another checksum")
	}
	return nil
}
