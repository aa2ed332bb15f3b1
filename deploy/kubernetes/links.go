package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/sockets"
)

// linksAgain is when the directory is looked at though nothing changed: somebody
// may have removed a link, or a link could not be made.
const linksAgain = 15 * time.Second

// links keep the socket directory of this node: a tag's link leads to the pod
// of this node that is marked with the tag, and sockets of pods that are gone go.
type links struct {
	dir     string
	log     *slog.Logger
	pods    cache.SharedIndexInformer // of this node
	changed chan struct{}             // holds one: the pods changed
}

func newLinks(cfg *Config) *links {
	factory := informers.NewSharedInformerFactoryWithOptions(cfg.Client, 0,
		informers.WithNamespace(cfg.Namespace), informers.WithTransform(slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.LabelSelector = ownerLabel + "=" + manager
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", string(cfg.Node)).String()
		}))
	l := &links{dir: cfg.SocketDir, log: cfg.Logger, pods: factory.Core().V1().Pods().Informer(), changed: make(chan struct{}, 1)}
	tellTrouble(l.pods, l.log)
	return l
}

// run works until ctx ends.
func (l *links) run(ctx context.Context) error {
	if err := makeSocketDir(l.dir); err != nil {
		return wire.InField("socket_dir", err)
	}
	poke := func(any) {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
	_, err := l.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: poke, DeleteFunc: poke, UpdateFunc: func(_, now any) { poke(now) },
	})
	if err != nil {
		return fmt.Errorf("watch the pods of this node: %w", err)
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		l.pods.Run(ctx.Done())
	}()
	defer func() { <-watching }()
	again := time.NewTicker(linksAgain)
	defer again.Stop()
	for {
		select {
		case <-l.changed:
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
		if !l.pods.HasSynced() {
			continue
		}
		if err := l.align(); err != nil {
			l.log.Warn("the socket directory is not in order, will retry", "dir", l.dir, "err", err)
		}
	}
}

// makeSocketDir: Redis runs as another user and makes its socket there, and
// removes no other's. What is asked of a client is the password.
func makeSocketDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777|os.ModeSticky)
}

// align makes the links that the pods ask for, and removes what is nobody's.
func (l *links) align() error {
	wanted, pods := l.wanted()
	var problems []error
	for tag, member := range wanted {
		problems = append(problems, sockets.Link(l.dir, tag, member))
	}
	there, err := sockets.Links(l.dir)
	problems = append(problems, err)
	for tag, member := range there {
		if _, ours := wanted[tag]; !ours && isMember(member) {
			problems = append(problems, sockets.Link(l.dir, tag, ""))
		}
	}
	return errors.Join(append(problems, l.sweep(pods))...)
}

// wanted are the tags of the marked pods. Where several clusters serve a tag it
// is the first by name.
func (l *links) wanted() (map[wire.NodeTag]wire.FrameDBID, map[wire.FrameDBID]bool) {
	wanted, pods := map[wire.NodeTag]wire.FrameDBID{}, map[wire.FrameDBID]bool{}
	for _, obj := range l.pods.GetStore().List() {
		p, ok := obj.(*corev1.Pod)
		if !ok {
			continue
		}
		member := wire.FrameDBID(p.Name)
		pods[member] = true
		if tag := wire.NodeTag(p.Labels[servesLabel]); tag != "" && isMember(member) {
			if now, taken := wanted[tag]; !taken || before(member, now) {
				wanted[tag] = member
			}
		}
	}
	return wanted, pods
}

func isMember(id wire.FrameDBID) bool {
	_, _, ok := id.SplitMember()
	return ok
}

func before(a, b wire.FrameDBID) bool {
	ca, _, _ := a.SplitMember()
	cb, _, _ := b.SplitMember()
	return ca < cb
}

// sweep removes sockets of members whose pods are not on this node, which a
// Redis that was killed leaves behind. Who listens still is left alone: what is
// watched may be old.
func (l *links) sweep(pods map[wire.FrameDBID]bool) error {
	entries, err := os.ReadDir(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		name, isSocket := strings.CutSuffix(e.Name(), ".sock")
		if id := wire.FrameDBID(name); !isSocket || e.Type()&fs.ModeSocket == 0 || !isMember(id) || pods[id] {
			continue
		}
		path := filepath.Join(l.dir, e.Name())
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			continue
		}
		if err := sockets.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
