package frames

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// ParseBatch reads a batch as it stands in a queue, in JSON, in one of
//
//	{"token": "…", "decrements": [{"key": "ref__P__n", "by": 1, "sizes": ["8x8"]}, …]}
//	{"ref__P__n": [1, ["8x8"]], …}
//	{"keys": {"ref__P__n": [1, ["8x8"]], …}}
//
// The token may be absent, and so may sizes: then all go. The others are what
// decr_batch_keys of the first FrameDB's client takes, and what it hands on.
//
// Errors: ErrInvalidArgument, ErrMalformed, ErrTooLarge; Field names the place.
func ParseBatch(text string) (wire.RequestID, []wire.Decrement, error) {
	var fields map[string]json.RawMessage
	if err := decodeJSON(text, &fields); err != nil {
		return "", nil, err
	}
	var token wire.RequestID
	var batch []wire.Decrement
	var err error
	switch {
	case fields["decrements"] != nil:
		var in struct {
			Token      wire.RequestID   `json:"token"`
			Decrements []wire.Decrement `json:"decrements"`
		}
		err = decodeJSON(text, &in)
		token, batch = in.Token, in.Decrements
	case fields["keys"] != nil && len(fields) == 1:
		if err = decodeJSON(string(fields["keys"]), &fields); err == nil {
			delete(fields, "keys")
			batch, err = pairs(fields)
		}
	default:
		batch, err = pairs(fields)
	}
	if err == nil {
		err = checkDecrements("decrements", token, batch)
	}
	if err == nil && len(batch) == 0 {
		err = wire.InField("decrements", wire.Errorf(wire.CodeInvalidArgument, "there are none: give 1 to %d", wire.MaxDecrements))
	}
	if err != nil {
		return "", nil, err
	}
	return token, batch, nil
}

// pairs reads {"key": [by, [sizes]]}, in the order of the keys.
func pairs(fields map[string]json.RawMessage) ([]wire.Decrement, error) {
	batch := make([]wire.Decrement, 0, len(fields))
	for key, raw := range fields {
		d := wire.Decrement{Key: key}
		var pair []json.RawMessage
		if err := decodeJSON(string(raw), &pair); err != nil || len(pair) < 1 || len(pair) > 2 {
			return nil, wire.InField(key, wire.Errorf(wire.CodeInvalidArgument, "give [by, [sizes]]"))
		}
		if err := decodeJSON(string(pair[0]), &d.By); err != nil {
			return nil, wire.InField(key, err)
		}
		if len(pair) == 2 {
			if err := decodeJSON(string(pair[1]), &d.Sizes); err != nil {
				return nil, wire.InField(key, err)
			}
		}
		batch = append(batch, d)
	}
	slices.SortFunc(batch, func(a, b wire.Decrement) int { return strings.Compare(a.Key, b.Key) })
	return batch, nil
}

func decodeJSON(text string, into any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something behind it")
		}
	}
	if err != nil {
		return wire.Errorf(wire.CodeMalformed, "it is not the JSON that is due: %v", err)
	}
	return nil
}
