package peer

import (
	"bytes"
	"fmt"
	"io"

	"github.com/framedb/framedb/client/wire"
)

// A connection begins with the caller's preface:
//
//	"FDB" 1       4 bytes: what this is, and its version
//	kind          1 byte
//	label         1 byte length, then the bytes; so are the next three
//	from          the caller's node name
//	to            the node name that is meant, empty for whoever is there
//	cluster       the cluster that the caller belongs to, empty for none
//
// and the answer: 1 byte length and as many bytes of why it is refused, 0 for
// welcome. What follows is the kind's own protocol.
type preface struct {
	kind     Kind
	label    string
	from, to wire.NodeName
	cluster  string
}

var magic = []byte{'F', 'D', 'B', 1}

func (p preface) encode() []byte {
	b := append(bytes.Clone(magic), byte(p.kind))
	for _, word := range []string{p.label, string(p.from), string(p.to), p.cluster} {
		b = append(append(b, byte(len(word))), word...)
	}
	return b
}

// readPreface reads no byte behind the preface.
func readPreface(r io.Reader) (preface, error) {
	head := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return preface{}, err
	}
	if !bytes.Equal(head[:len(magic)], magic) {
		return preface{}, fmt.Errorf("%q is not the beginning of a connection between agents", head[:len(magic)])
	}
	words := make([]string, 4)
	for i := range words {
		word, err := readWord(r)
		if err != nil {
			return preface{}, err
		}
		words[i] = word
	}
	return preface{
		kind: Kind(head[len(magic)]), label: words[0],
		from: wire.NodeName(words[1]), to: wire.NodeName(words[2]), cluster: words[3],
	}, nil
}

func readWord(r io.Reader) (string, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", err
	}
	word := make([]byte, n[0])
	_, err := io.ReadFull(r, word)
	return string(word), err
}

// writeAnswer tells the caller why it is refused, or that it is not.
func writeAnswer(w io.Writer, refused error) error {
	why := ""
	if refused != nil {
		why = refused.Error()
		why = why[:min(len(why), 255)]
	}
	_, err := w.Write(append([]byte{byte(len(why))}, why...))
	return err
}

// readAnswer returns ErrForbidden for a refusal.
func readAnswer(r io.Reader) error {
	why, err := readWord(r)
	if err == nil && why != "" {
		return wire.Errorf(wire.CodeForbidden, "%s", why)
	}
	return err
}
