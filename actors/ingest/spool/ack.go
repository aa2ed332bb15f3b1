package spool

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// The file "done" holds the index of the first record that is not done, in two
// slots of 20 bytes, 512 bytes apart, which are written in turn:
//
//	 0  8  turn: the greater one counts
//	 8  8  index
//	16  4  CRC-32C of bytes 0..15
//
// It is not synced: after a power cut it may be old, and then records come
// again that were done.
const (
	ackName = "done"
	slot    = 512
	ackSize = 20
)

type ackFile struct {
	file file
	turn uint64
}

// openAcks opens the file and returns the index that it holds; 0 is new.
func openAcks(path string, open opener) (*ackFile, uint64, error) {
	f, err := open(path)
	if err != nil {
		return nil, 0, err
	}
	a := &ackFile{file: f}
	var index uint64
	for i := range int64(2) {
		b := make([]byte, ackSize)
		if _, err := f.ReadAt(b, i*slot); err == io.EOF {
			continue
		} else if err != nil {
			f.Close()
			return nil, 0, err
		}
		if crc32.Checksum(b[:16], castagnoli) != binary.BigEndian.Uint32(b[16:]) {
			continue
		}
		if turn := binary.BigEndian.Uint64(b); turn >= a.turn {
			a.turn, index = turn, binary.BigEndian.Uint64(b[8:])
		}
	}
	return a, index, nil
}

func (a *ackFile) store(index uint64) error {
	turn := a.turn + 1
	b := binary.BigEndian.AppendUint64(make([]byte, 0, ackSize), turn)
	b = binary.BigEndian.AppendUint64(b, index)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := a.file.WriteAt(b, int64(turn%2)*slot); err != nil {
		return err
	}
	a.turn = turn
	return nil
}

// fill writes both slots of a new file: what comes later needs no more space
// and succeeds on a full disk, too.
func (a *ackFile) fill(index uint64) error {
	for a.turn < 2 {
		if err := a.store(index); err != nil {
			return diskError(err)
		}
	}
	return nil
}
