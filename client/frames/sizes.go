package frames

import "github.com/framedb/framedb/client/wire"

// Bounds of the sizes of one frame.
const (
	maxSizes     = 64
	maxSizeBytes = 64
)

// CheckSizes reports whether these may be the sizes of one frame, "<W>x<H>": at
// most 64, each of 1 to 64 letters, digits, ".", "-" and "_", beginning with a
// letter or a digit and without "__". Whoever writes frames asks it too, so that
// nothing is written that cannot be counted down.
//
// Errors: ErrInvalidArgument.
func CheckSizes(sizes ...string) error {
	if len(sizes) > maxSizes {
		return wire.Errorf(wire.CodeInvalidArgument, "%d are too many: give at most %d", len(sizes), maxSizes)
	}
	for _, s := range sizes {
		if !isSize(s) {
			return wire.Errorf(wire.CodeInvalidArgument, "%.100q is not allowed: give <W>x<H>", s)
		}
	}
	return nil
}

func isSize(s string) bool {
	if s == "" || len(s) > maxSizeBytes {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i == 0, c == '_' && s[i-1] == '_':
			return false
		case c != '.' && c != '-' && c != '_':
			return false
		}
	}
	return true
}
