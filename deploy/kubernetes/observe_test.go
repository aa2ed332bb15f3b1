package kubernetes

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/sockets"
)

func TestANewClusterIsToldWhoIsMaster(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(3))
	if d, err := b.Observe(b.ctx, "alpha"); err != nil || !d.Exists || len(d.Members) != 3 || d.Members[0].Redis.Running {
		t.Fatalf("before there are pods: %+v, %v", d, err)
	}
	b.run("alpha", 0, 1, 2)
	for i := range 3 {
		b.say("alpha", i, is(held, held))
	}
	d, err := b.Observe(b.ctx, "alpha")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range d.Members {
		if m.Redis.Running || m.Sentinel.Running || m.Redis.Reason == "" {
			t.Errorf("a member that waits is said to run: %+v", m)
		}
	}
	b.apply("alpha", spec(3))
	want := []string{"10.0.0.1: member 0 follows", "10.0.0.2: member 1 follows", "10.0.0.3: member 2 follows",
		"10.0.0.1: the Sentinel of member 0 watches", "10.0.0.2: the Sentinel of member 1 watches", "10.0.0.3: the Sentinel of member 2 watches"}
	told := b.servers.heard()
	if len(told) != len(want) {
		t.Fatalf("told %v", told)
	}
	host := b.cfg.host("alpha", 0)
	for i := range want {
		if !strings.HasPrefix(told[i], want[i]) || !strings.HasSuffix(told[i], host+":6379") {
			t.Errorf("told %q, want %q … %s", told[i], want[i], host)
		}
	}
}

func TestOnlyTheClustersOwnPasswordIsUsed(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(1))
	b.run("alpha", 0)
	b.say("alpha", 0, is(held, held))
	b.apply("alpha", spec(1))
	if _, err := b.Observe(b.ctx, "alpha"); err != nil {
		t.Fatal(err)
	}
	secret, err := b.api.CoreV1().Secrets(b.cfg.Namespace).Get(b.ctx, "alpha-redis", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	peer := string(secret.Data[peerKey])
	if len(b.servers.peers) != 1 || !b.servers.peers[peer] || peer == password || len(peer) < 20 {
		t.Errorf("the servers were asked with %v, the cluster's password is %q", b.servers.peers, peer)
	}
}

func TestASilentServerRuns(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(2))
	b.run("alpha", 0, 1)
	b.say("alpha", 0, is(silent, silent))
	b.say("alpha", 1, follows(0), knows(0, 1))
	d, err := b.Observe(b.ctx, "alpha")
	if err != nil || !d.Members[0].Redis.Running || !d.Members[0].Sentinel.Running {
		t.Errorf("a server that could not be asked is said not to run: %+v, %v", d, err)
	}
	b.deletePod("alpha", 1)
	b.eventually("a pod that is gone is seen", func() error {
		d, err := b.Observe(b.ctx, "alpha")
		if err == nil && len(d.Members) == 2 && (d.Members[1].Redis.Running || d.Members[1].Redis.Reason == "") {
			err = errors.New("it runs")
		}
		return err
	})
}

func TestWhoStaysBeyondTheReplicas(t *testing.T) {
	at := func(i int) wire.Endpoint { return at(i) }
	claims := func(master int) func(*seen) { return knows(master, 3) }
	four := func(set func(*seen)) []seen {
		members := make([]seen, 4)
		for i := range members {
			members[i].ordinal, members[i].redis = i, active
			set(&members[i])
		}
		return members
	}
	for _, c := range []struct {
		name    string
		members []seen
		want    int
		kept    []int
	}{
		{"the master stays", four(claims(0)), 2, nil},
		{"the master leaves", four(claims(3)), 4, []int{3}},
		{"the master leaves, the last does not matter", four(claims(2)), 3, []int{2}},
		{"nobody knows", four(func(m *seen) { m.sentinel = silent }), 4, []int{2, 3}},
		{"nothing runs", make([]seen, 0), 2, nil},
	} {
		n, why := keep(c.members, 2, at)
		var kept []int
		for i := range why {
			kept = append(kept, i)
		}
		slices.Sort(kept)
		if n != c.want || !slices.Equal(kept, c.kept) {
			t.Errorf("%s: %d members, kept %v; want %d, %v", c.name, n, kept, c.want, c.kept)
		}
	}
}

func TestAMasterBeyondTheReplicasIsNotEnded(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(3))
	b.run("alpha", 0, 1, 2)
	for i := range 3 {
		b.say("alpha", i, follows(2), knows(2, 1))
	}
	replicas := func() int {
		set, err := b.api.AppsV1().StatefulSets(b.cfg.Namespace).Get(b.ctx, "alpha-redis-node", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return replicasOf(set)
	}
	b.apply("alpha", spec(2))
	if n := replicas(); n != 3 {
		t.Fatalf("the master was ended: %d members", n)
	}
	d, err := b.Observe(b.ctx, "alpha")
	if err != nil || !strings.Contains(d.Members[2].Redis.Reason, "still the master") {
		t.Errorf("observed %+v, %v", d, err)
	}
	for i := range 3 {
		b.say("alpha", i, follows(0), knows(0, 2))
	}
	b.apply("alpha", spec(2))
	if n := replicas(); n != 2 {
		t.Errorf("%d members, want 2", n)
	}
	if told := b.servers.heard(); !slices.Contains(told, "10.0.0.1: unguard") {
		t.Errorf("two members would take no writes without each other: told %v", told)
	}
}

func TestRestartEndsOnlyWhatOthersCanDoWithout(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(2))
	b.run("alpha", 0, 1)
	b.say("alpha", 0, follows(0), knows(0, 1))
	b.say("alpha", 1, follows(0), knows(0, 1))
	for id, want := range map[wire.FrameDBID]error{
		"alpha-redis-node-0": wire.ErrConflict, "alpha-redis-node-7": wire.ErrNotFound, "alpha": wire.ErrInvalidArgument,
	} {
		if err := b.Restart(b.ctx, id); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	b.say("alpha", 0, is(silent, active), knows(0, 1))
	b.say("alpha", 0, is(silent, silent))
	if err := b.Restart(b.ctx, "alpha-redis-node-1"); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("without a master that answers: %v", err)
	}
	b.say("alpha", 0, follows(0), knows(0, 1))
	before, err := b.api.CoreV1().Pods(b.cfg.Namespace).Get(b.ctx, "alpha-redis-node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Restart(b.ctx, "alpha-redis-node-1"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the pod is another one", func() error {
		now, err := b.api.CoreV1().Pods(b.cfg.Namespace).Get(b.ctx, "alpha-redis-node-1", metav1.GetOptions{})
		if err == nil && b.fake == nil && now.UID == before.UID {
			return errors.New("it is the same")
		}
		if err == nil && b.fake != nil {
			return errors.New("it is there")
		}
		return nil
	})
}

func TestTheTagsSocketFollowsTheMark(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(2))
	b.run("alpha", 0, 1)
	marked := func() string {
		var all []string
		pods, err := b.api.CoreV1().Pods(b.cfg.Namespace).List(b.ctx, metav1.ListOptions{LabelSelector: servesLabel + "=nowhere"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods.Items {
			all = append(all, p.Name)
		}
		return strings.Join(all, " ")
	}
	for _, member := range []wire.FrameDBID{"alpha-redis-node-0", "alpha-redis-node-1", ""} {
		if err := b.ServeTag(b.ctx, "nowhere", member); err != nil {
			t.Fatal(err)
		}
		if got := marked(); got != string(member) {
			t.Errorf("marked %q, want %q", got, member)
		}
		if member != "" {
			b.watchedNow("alpha", func(sight) bool { return b.isMarked(member, "nowhere") })
		}
	}
	// What another agent marked stays: only who led the tag takes it away.
	if err := b.ServeTag(b.ctx, "nowhere", "alpha-redis-node-0"); err != nil {
		t.Fatal(err)
	}
	if err := b.driver(b.cfg.Namespace).ServeTag(b.ctx, "nowhere", ""); err != nil {
		t.Fatal(err)
	}
	if got := marked(); got != "alpha-redis-node-0" {
		t.Errorf("another agent took the mark away: %q", got)
	}
	for tag, member := range map[wire.NodeTag]wire.FrameDBID{"a b": "alpha-redis-node-0", "alpha-redis-node-0": "alpha-redis-node-0", "nowhere": "alpha"} {
		if err := b.ServeTag(b.ctx, tag, member); !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("%s → %s: %v", tag, member, err)
		}
	}
}

func TestLinksFollowThePodsOfTheNode(t *testing.T) {
	b := newBed(t)
	l := newLinks(&b.cfg)
	mark := func(id wire.FrameDBID, tag string) {
		cluster, _, _ := id.SplitMember()
		p := podNamed(string(id), with(objectLabels(cluster, "nowhere"), map[string]string{servesLabel: tag}))
		if err := l.pods.GetStore().Add(p); err != nil {
			t.Fatal(err)
		}
	}
	links := func() map[wire.NodeTag]wire.FrameDBID {
		if err := l.align(); err != nil {
			t.Fatal(err)
		}
		all, err := sockets.Links(l.dir)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	mark("zeta-redis-node-0", "tag")
	if got := links(); got["tag"] != "zeta-redis-node-0" {
		t.Errorf("links %v", got)
	}
	mark("alpha-redis-node-2", "tag")
	if got := links(); got["tag"] != "alpha-redis-node-2" {
		t.Errorf("of two clusters the first by name serves: %v", got)
	}
	mark("alpha-redis-node-2", "")
	mark("zeta-redis-node-0", "")
	if got := links(); len(got) != 0 {
		t.Errorf("links are left: %v", got)
	}
}

func TestSocketsOfPodsThatAreGoneGo(t *testing.T) {
	b := newBed(t)
	l := newLinks(&b.cfg)
	dead := sockets.Path(l.dir, "alpha-redis-node-0")
	listen(t, dead)()
	live := sockets.Path(l.dir, "beta-redis-node-0")
	defer listen(t, live)()
	foreign := sockets.Path(l.dir, "agent")
	listen(t, foreign)()
	if err := l.align(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{dead: false, live: true, foreign: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

func TestPodsOfAnEarlierSpecificationNeedARestart(t *testing.T) {
	b := newBed(t)
	s := sight{set: setNamed(t, b, "alpha")}
	s.set.Generation, s.set.Status.ObservedGeneration, s.set.Status.UpdateRevision = 2, 2, "new"
	for revision, want := range map[string]bool{"old": true, "new": false, "": false} {
		m := deploy.Member{}
		b.miss(&m, &s, pod{revision: revision, node: "elsewhere"})
		if m.Redis.NeedsRestart != want {
			t.Errorf("revision %q: needs a restart: %v", revision, m.Redis.NeedsRestart)
		}
	}
	s.set.Status.ObservedGeneration = 1
	m := deploy.Member{}
	if b.miss(&m, &s, pod{revision: "old", node: "elsewhere"}); m.Redis.NeedsRestart {
		t.Error("the revision is not that of this specification yet")
	}
}
