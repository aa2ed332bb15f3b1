package client

import (
	"bufio"
	"bytes"
	"io"
)

// maxMessage bounds one line of an event stream, in bytes. The largest row is a
// mapping with wire.MaxMetadata, before and after.
const maxMessage = 1 << 20

// message is one server-sent event.
type message struct {
	id, event string
	data      []byte
}

// messages reads a text/event-stream body.
type messages struct {
	lines *bufio.Scanner
	// alive is set by the first comment: the server sends them to show that it
	// is there while nothing happens.
	alive bool
}

func newMessages(body io.Reader) *messages {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxMessage)
	return &messages{lines: lines}
}

// next returns the next message, or ok = false at a comment: something came,
// but no message. At the end of the body err is io.EOF; a message that was cut
// off is not returned.
func (m *messages) next() (msg message, ok bool, err error) {
	for m.lines.Scan() {
		line := m.lines.Bytes()
		if len(line) == 0 {
			if msg.event != "" || msg.data != nil {
				return msg, true, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "":
			m.alive = true
			if msg.event == "" && msg.data == nil {
				return message{}, false, nil
			}
		case "id":
			msg.id = string(value)
		case "event":
			msg.event = string(value)
		case "data":
			if msg.data != nil {
				msg.data = append(msg.data, '\n')
			}
			msg.data = append(msg.data, value...)
		}
	}
	if err := m.lines.Err(); err != nil {
		return message{}, false, err
	}
	return message{}, false, io.EOF
}
