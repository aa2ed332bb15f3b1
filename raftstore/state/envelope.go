package state

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// EnvelopeVersion is the format of Envelope that this build writes and reads.
const EnvelopeVersion = 1

// Envelope is a command as it stands in the log. What Apply would otherwise
// have to look up travels in it. Numbers are big endian:
//
//	size
//	1    EnvelopeVersion
//	1    n, length of the type
//	n    type
//	1    m, length of the request ID
//	m    request ID
//	8    the proposer's clock in nanoseconds since 1970
//	…    body, the command as JSON
type Envelope struct {
	Type CommandType
	// RequestID deduplicates; empty means never.
	RequestID wire.RequestID
	// At is the proposer's clock, used only to forget old request IDs.
	At   time.Time
	Body json.RawMessage
}

// Encode puts a command into the form in which it is logged.
func Encode(cmd Command, id wire.RequestID, at time.Time) ([]byte, error) {
	if err := id.Validate(); err != nil { // its length fits a byte then
		return nil, err
	}
	body, err := json.Marshal(cmd)
	if err != nil {
		return nil, err
	}
	t := cmd.Type()
	b := make([]byte, 0, 3+len(t)+len(id)+8+len(body))
	b = append(b, EnvelopeVersion, byte(len(t)))
	b = append(b, t...)
	b = append(b, byte(len(id)))
	b = append(b, id...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixNano()))
	return append(b, body...), nil
}

// Decode reads what Encode wrote; Body stays a part of b. Errors: ErrMalformed,
// ErrInvalidArgument (another version).
func Decode(b []byte) (Envelope, error) {
	short := wire.Errorf(wire.CodeMalformed, "log entry is no command: it has %d bytes", len(b))
	if len(b) == 0 {
		return Envelope{}, short
	}
	if b[0] != EnvelopeVersion {
		return Envelope{}, wire.Errorf(wire.CodeInvalidArgument, "command has format version %d; this agent knows %d: upgrade it", b[0], EnvelopeVersion)
	}
	name, rest, ok := cutPart(b[1:])
	if !ok {
		return Envelope{}, short
	}
	id, rest, ok := cutPart(rest)
	if !ok || len(rest) < 8 {
		return Envelope{}, short
	}
	at := time.Unix(0, int64(binary.BigEndian.Uint64(rest))).UTC()
	return Envelope{Type: CommandType(name), RequestID: wire.RequestID(id), At: at, Body: rest[8:]}, nil
}

// cutPart cuts off a part that begins with its length.
func cutPart(b []byte) (part, rest []byte, ok bool) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return nil, nil, false
	}
	return b[1 : 1+b[0]], b[1+b[0]:], true
}
