package refcount

import (
	"encoding/json"

	"github.com/framedb/framedb/client/frames"
)

// Sizes are those that a mapping's metadata name; what is of no use there, or
// cannot be the size of a frame, is left out: writers say so themselves.
func Sizes(metadata json.RawMessage) []string {
	var m struct {
		Sizes []json.RawMessage `json:"sizes"`
	}
	if json.Unmarshal(metadata, &m) != nil {
		return nil
	}
	var sizes []string
	for _, raw := range m.Sizes {
		var size string
		if json.Unmarshal(raw, &size) == nil && frames.CheckSizes(append(sizes, size)...) == nil {
			sizes = append(sizes, size)
		}
	}
	return sizes
}
