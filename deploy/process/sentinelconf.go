package process

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// knowledge is what a Sentinel has learnt and keeps in its file. It survives
// the rewriting of the file at each start; all else there is ours.
type knowledge struct {
	id           string // its myid, which the other Sentinels know it by
	claim        deploy.Claim
	leaderEpoch  uint64
	currentEpoch uint64
}

// newKnowledge is that of a Sentinel that starts for the first time.
func newKnowledge(claim deploy.Claim) knowledge {
	var id [20]byte
	rand.Read(id[:]) // never fails
	return knowledge{id: hex.EncodeToString(id[:]), claim: claim, currentEpoch: claim.Epoch}
}

// readKnowledge reads a sentinel.conf. ok is false when there is none, or none
// that tells all.
func readKnowledge(path string) (k knowledge, ok bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return knowledge{}, false, nil
	}
	if err != nil {
		return knowledge{}, false, fmt.Errorf("read what Sentinel knows: %w", err)
	}
	k, ok = parseKnowledge(string(b))
	return k, ok, nil
}

func parseKnowledge(conf string) (k knowledge, ok bool) {
	for line := range strings.Lines(conf) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "sentinel" {
			continue
		}
		last := words[len(words)-1]
		switch words[1] {
		case "myid":
			k.id = last
		case "monitor":
			if len(words) == 6 && words[2] == wire.MasterName {
				port, _ := strconv.Atoi(words[4])
				k.claim.Master = wire.Endpoint{Host: words[3], Port: port}
			}
		case "config-epoch":
			k.claim.Epoch, _ = strconv.ParseUint(last, 10, 64)
		case "leader-epoch":
			k.leaderEpoch, _ = strconv.ParseUint(last, 10, 64)
		case "current-epoch":
			k.currentEpoch, _ = strconv.ParseUint(last, 10, 64)
		}
	}
	return k, k.id != "" && k.claim.Master.Port != 0
}

// beside are the other members as a Sentinel is told of them.
type beside struct {
	replicas  []wire.Endpoint // all members but the claimed master, as Sentinel wants it
	sentinels map[string]wire.Endpoint
}

// sentinelConf is the configuration of a Sentinel that knows k. It is told of
// the other members instead of finding them, which takes it 10 s, during which
// it could fail over to nobody. Those that are members no more it is not told
// of: a Sentinel that still counts them may find no majority, and one that
// meets another cluster's server at an old address joins the two.
func sentinelConf(cfg *Config, s server, spec *wire.ClusterSpec, k knowledge, others beside) []byte {
	const of = wire.MasterName
	f := commonConf(s, cfg.Password)
	f.Set("sentinel myid", k.id)
	f.Set("sentinel announce-ip", s.Host)
	f.Set("sentinel announce-port", s.Port)
	f.Set("sentinel sentinel-pass", cfg.Password)
	f.Set("sentinel deny-scripts-reconfig", "yes")
	f.Set("sentinel monitor", of, k.claim.Master.Host, k.claim.Master.Port, spec.Quorum)
	f.Set("sentinel auth-pass", of, cfg.Password)
	f.Set("sentinel down-after-milliseconds", of, spec.DownAfter)
	f.Set("sentinel failover-timeout", of, spec.FailoverTimeout)
	f.Set("sentinel parallel-syncs", of, spec.ParallelSyncs)
	f.Set("sentinel config-epoch", of, k.claim.Epoch)
	f.Set("sentinel leader-epoch", of, k.leaderEpoch)
	f.Set("sentinel current-epoch", k.currentEpoch)
	for _, r := range others.replicas {
		if r != k.claim.Master {
			f.Set("sentinel known-replica", of, r.Host, r.Port)
		}
	}
	for id, e := range others.sentinels {
		if id != k.id {
			f.Set("sentinel known-sentinel", of, e.Host, e.Port, id)
		}
	}
	return f.Bytes()
}
