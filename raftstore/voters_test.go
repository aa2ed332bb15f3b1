package raftstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/framedb/framedb/client/wire"
)

// servers reads one word for each agent: its name; then V if it votes, L if it
// leads; then + alive for long, ~ alive of late, - dead of late, x dead for
// long, X dead for very long; then d if it drains.
func servers(t *testing.T, words string) electorate {
	t.Helper()
	m := quick()
	e := electorate{Max: 5, Times: m, Unready: map[wire.NodeName]bool{}}
	for _, w := range strings.Fields(words) {
		s := server{Name: wire.NodeName(w[:1])}
		for _, flag := range w[1:] {
			switch flag {
			case 'L':
				e.Leader = s.Name
				s.Voter = true
			case 'V':
				s.Voter = true
			case '+':
				s.Alive, s.For = true, m.Stable
			case '~':
				s.Alive, s.For = true, m.StableFew
			case '-':
				s.For = m.DeadAfter - 1
			case 'x':
				s.For = m.DeadAfter
			case 'X':
				s.For = m.ForgetAfter
			case 'd':
				s.Draining = true
			default:
				t.Fatalf("%q", w)
			}
		}
		e.Servers = append(e.Servers, s)
	}
	return e
}

func TestTheNextChangeOfVoters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ servers, want string }{
		{"aL+", ""},
		{"aL+ b+", ""}, // two voters would survive no more than one
		{"aL+ b+ c+", "promote b"},
		{"aL+ b~ c~", "promote b"}, // few voters: hurry
		{"aL+ bV+ c~", "promote c"},
		{"aL+ bV+ cV+ d+", ""},
		{"aL+ bV+ cV+ d+ e+", "promote d"},
		{"aL+ bV+ cV+ d~ e+", "promote e"},
		{"aL+ bV+ cV+ d~ e~", ""},
		{"aL+ bV+ cV+ dV+ e~", ""}, // the fifth is on its way
		{"aL+ bV+ cV+ dV+ eV+ f+ g+", ""},

		// Dead voters: at first they are waited for.
		{"aL+ bV+ cV- d+", ""},
		{"aL+ bV+ cVx d+", "promote d"},
		{"aL+ bV+ cVx dV+", "demote c"},
		{"aL+ bV+ cx dV+", ""},
		{"aL+ bV+ cVx", ""}, // nobody can take its place, and two survive no more
		{"aL+ bV+ cV+ dV+ eVx", ""},
		{"aL+ bV+ cV+ dV+ eVx f+", "promote f"},
		{"aL+ bV+ cV+ dV+ eVx fV+", "demote e"},
		{"aL+ bV+ cV+ dVx eVx", "demote e"},
		{"aL+ bV+ cV+ dVx e+", "demote d"},
		{"aL+ bV+ cV+ dVx ex", "demote d"},
		{"aL+ bV+ cVx dVx", "demote d"}, // two of the three left live
		{"aL+ bV+ cVx dVx eVx", ""},

		// Too many.
		{"aL+ bV+ cV+ dV+ eV+ fV+", "demote f"},
		{"aV+ bV+ cV+ dV+ eV+ fL+", "demote e"},
		{"aL+ bV+ cV+ dV+", "demote d"},
		{"aL+ bV+ cV- dV+ eV+ fV+", "demote c"},
		{"aL+ bV+", ""}, // what two have, one alone might lose

		// Draining.
		{"aL+ bV+ cV+d", ""},
		{"aL+ bV+ cV+d d+", "promote d"},
		{"aL+ bV+ cV+d dV+", "demote c"},
		{"aL+ bV+ cV+ d+d e+d", "promote d"}, // better than none
		{"aL+ bV+ cV+d d+d", ""},
		{"aL+d bV+ cV+", "hand over to b"},
		{"aL+d bV+d cV+d", ""},
		{"aL+d bV+ cV+ d+", "hand over to b"},
		{"aL+d bV+ cV+ dV+", "hand over to b"},

		// Gone.
		{"aL+ bX", "remove b"},
		{"aL+ bx", ""},
		{"aL+ bV+ cVX", ""}, // by Forget only
	} {
		e := servers(t, c.servers)
		got, found := planChange(e)
		if said := strings.TrimSpace(fmt.Sprint(got.Do, " ", got.Name)); said != c.want || found != (c.want != "") {
			t.Errorf("%s: %q, want %q", c.servers, said, c.want)
		}
	}
	e := servers(t, "aL+ b+ c+")
	e.Unready["b"] = true
	if got, _ := planChange(e); got != (change{promote, "c"}) {
		t.Errorf("an agent that does not keep up: %v", got)
	}
}

// TestVotersSettle: whatever there is, the changes come to an end, none of
// them leaves those who live without a majority that they had, and in the end
// nothing would survive more deaths.
func TestVotersSettle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := electorate{Leader: "a0", Max: rapid.SampledFrom([]int{1, 3, 5, 7}).Draw(t, "max"), Times: quick()}
		e.Servers = []server{{Name: "a0", Voter: true, Alive: true, For: time.Hour, Draining: rapid.Bool().Draw(t, "leader drains")}}
		for i := range rapid.IntRange(0, 9).Draw(t, "others") {
			e.Servers = append(e.Servers, server{
				Name:  wire.NodeName(fmt.Sprint("b", i)),
				Voter: rapid.Bool().Draw(t, "voter"), Alive: rapid.Bool().Draw(t, "alive"),
				For:      rapid.SampledFrom([]time.Duration{0, quick().StableFew, quick().Stable, time.Minute, 2 * time.Hour}).Draw(t, "for"),
				Draining: rapid.Bool().Draw(t, "drains"),
			})
		}
		for steps := 0; ; steps++ {
			c, found := planChange(e)
			if !found {
				break
			}
			if steps > 40 {
				t.Fatalf("no end: %v on %+v", c, e)
			}
			apply(t, &e, c)
		}
		settled(t, e)
	})
}

func apply(t *rapid.T, e *electorate, c change) {
	voter := func(s server) bool { return s.Voter }
	alive := func(s server) bool { return s.Voter && s.Alive }
	had := e.count(alive) >= majority(e.count(voter))
	i := slices.IndexFunc(e.Servers, func(s server) bool { return s.Name == c.Name })
	switch c.Do {
	case promote:
		e.Servers[i].Voter = true
	case demote:
		e.Servers[i].Voter = false
		if c.Name == e.Leader {
			t.Fatalf("the leader is demoted: %+v", e)
		}
	case remove:
		if e.Servers[i].Voter || e.Servers[i].Alive {
			t.Fatalf("%v: %+v", c, e)
		}
		e.Servers = slices.Delete(e.Servers, i, i+1)
	case handOver:
		e.Leader = c.Name
	}
	if had && e.count(alive) < majority(e.count(voter)) || !had && c.Do == demote && e.count(alive) < majority(e.count(voter)) {
		t.Fatalf("%v leaves no majority: %+v", c, e)
	}
}

func settled(t *rapid.T, e electorate) {
	voters := e.count(func(s server) bool { return s.Voter })
	alive := e.count(func(s server) bool { return s.Voter && s.Alive })
	waits := e.count(func(s server) bool { return e.present(s) && (!s.Alive || !s.Voter && s.For < e.Times.Stable) })
	if alive < majority(voters) || waits > 0 {
		return // nothing can be done, or not yet
	}
	if voters > e.Max {
		t.Fatalf("%d voters, at most %d: %+v", voters, e.Max, e)
	}
	if best := oddUpTo(min(e.Max, e.count(func(s server) bool { return s.Alive }))); spare(alive, voters) < spare(best, best) {
		t.Fatalf("%d of %d voters live, and %d could vote: %+v", alive, voters, best, e)
	}
}
