package cluster

import (
	"strings"
	"testing"
)

func TestMetaComesBack(t *testing.T) {
	longest := strings.Repeat("h", 253)
	for _, m := range []Meta{
		{},
		{API: "10.0.0.1:5000", Raft: "10.0.0.1:7000", Version: "v1.2.3-4-g0123456"},
		{API: "10.0.0.1:5000", Raft: "10.0.0.2:7000"},
		{API: "[fd00::1]:5000", Raft: "[fd00::1]:7000"},
		{Raft: "10.0.0.1:7000"},
		{API: longest + ":65535", Raft: longest + ":65534", Version: "v1.2.3-4-g0123456"},
	} {
		b, err := m.encode()
		if err != nil {
			t.Errorf("%+v: %v", m, err)
			continue
		}
		if back := decodeMeta(b); back != m {
			t.Errorf("%+v came back as %+v", m, back)
		}
	}
}
