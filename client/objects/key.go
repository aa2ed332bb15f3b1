package objects

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/framedb/framedb/client/wire"
)

// Key names one object of a FrameDB. It is taken as it is: '/' is a character
// like any other except that no part between two of them may be "." or "..",
// and "%2e" is three characters.
type Key string

// MaxKey is the longest key in bytes: that of data_table's VARCHAR(255), which
// counts characters, and of Redis values beside it. One rule for all backends
// lets every object be copied anywhere.
const MaxKey = 255

// Validate returns an ErrInvalidArgument with Field "key" when the key breaks
// a rule:
//
//   - 1 to MaxKey bytes of valid UTF-8
//   - no control characters, NUL among them: they sort differently under
//     MySQL's collations and cannot be shown
//   - no space at the end: MySQL's collations hold "a" and "a " for equal
//   - no part "." or "..": such a key would climb out of the directory or the
//     URL that it is made part of
func (k Key) Validate() error {
	refuse := func(format string, args ...any) error {
		return wire.InField("key", wire.Errorf(wire.CodeInvalidArgument, format, args...))
	}
	s := string(k)
	switch {
	case s == "":
		return refuse("give a key of 1 to %d bytes", MaxKey)
	case len(s) > MaxKey:
		return refuse("it has %d bytes: at most %d are allowed", len(s), MaxKey)
	case !utf8.ValidString(s):
		return refuse("it is not valid UTF-8")
	case strings.IndexFunc(s, unicode.IsControl) >= 0:
		return refuse("%q has a control character", s)
	case strings.HasSuffix(s, " "):
		return refuse("%q ends with a space", s)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "." || part == ".." {
			return refuse("%q has a part %q", s, part)
		}
	}
	return nil
}
