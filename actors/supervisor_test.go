package actors

import (
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/framedb/framedb/raftstore/state"
)

func TestPausesGrow(t *testing.T) {
	t.Parallel()
	cfg := Restarts{First: time.Second, Longest: 5 * time.Second, Limit: 4, Window: time.Minute, Pause: time.Hour}
	s := newSupervisor(cfg, nil, slog.New(slog.DiscardHandler))
	pid, at := actor.NewPID("here", "$1/x@1"), time.Now()
	for i, want := range []time.Duration{1, 2, 4, 5} {
		_, pause, long := s.crash(pid, at)
		if want *= time.Second; pause < want || pause > want+want/10+1 || long {
			t.Errorf("pause %d is %s, want %s and at most a tenth more", i+1, pause, want)
		}
	}
	if n, pause, long := s.crash(pid, at); n != 5 || pause != time.Hour || !long {
		t.Errorf("crash %d pauses %s", n, pause)
	}
	if n, _, long := s.crash(pid, at); n != 1 || long {
		t.Errorf("after the long pause it is crash %d", n)
	}
	if n, _, _ := s.crash(pid, at.Add(2*time.Minute)); n != 1 {
		t.Errorf("a crash long after the others is the %d.", n)
	}
}

func TestItemOf(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"$1": "",
		"$1/" + actorName(state.Item{Cluster: "alpha"}, 7):         `cluster "alpha" instance`,
		"$1/" + actorName(state.Item{Cluster: "a-b"}, 7) + "/$12":  `cluster "a-b" child`,
		"$1/" + actorName(state.Item{Storage: "alpha"}, 7):         `persistent FrameDB "alpha" storage`,
		"$1/" + actorName(state.Item{Storage: "disk"}, 17) + "/$1": `persistent FrameDB "disk" child`,
	} {
		item, part, ok := itemOf(actor.NewPID("here", id))
		if got := item.String() + " " + part; ok != (want != "") || ok && got != want {
			t.Errorf("%s is of %q (%v), want %q", id, got, ok, want)
		}
	}
}
