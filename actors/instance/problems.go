package instance

import (
	"fmt"
	"net"
	"strconv"

	"github.com/framedb/framedb/client/wire"
)

// problems says what keeps the cluster from being ready, the worst first, one
// sentence each.
func (p *planner) problems() []string {
	all := p.memberProblems()
	all = append(all, p.masterProblems()...)
	all = append(all, p.sentinelProblems()...)
	return append(all, p.syncProblems()...)
}

// oneSentence is what an operator reads first.
func oneSentence(problems []string) string {
	switch len(problems) {
	case 0:
		return ""
	case 1:
		return problems[0]
	default:
		return fmt.Sprintf("%s (and %d more)", problems[0], len(problems)-1)
	}
}

// memberProblems are about Redis processes.
func (p *planner) memberProblems() []string {
	var all []string
	for ordinal := range p.Cluster.Replicas {
		m := p.Seen.ordinal(ordinal)
		switch {
		case m == nil:
			all = append(all, fmt.Sprintf("member %s was not started yet", p.Cluster.Name.Member(ordinal)))
		case !m.Redis.Running:
			all = append(all, fmt.Sprintf("member %s does not run: %s", m.ID, orElse(m.Redis.Reason, "no reason is known")))
		case m.InfoErr != nil:
			all = append(all, fmt.Sprintf("member %s does not answer: %v", m.ID, m.InfoErr))
		case m.Info.Unsaved != "":
			all = append(all, fmt.Sprintf("member %s cannot write its backup to disk and may refuse writes (%s:err): free some space for its directory, or see its log", m.ID, m.Info.Unsaved))
		case m.Redis.NeedsRestart:
			all = append(all, fmt.Sprintf("member %s needs a restart: %s", m.ID, orElse(m.Redis.Reason, "no reason is known")))
		}
	}
	return all
}

// masterProblems are about who is master.
func (p *planner) masterProblems() []string {
	name, ok := p.Seen.named()
	if !ok {
		return []string{"no Sentinel answers"}
	}
	m := p.Seen.at(name)
	switch {
	case m == nil:
		return []string{fmt.Sprintf("Sentinel names %s as master, which is no member", address(name))}
	case !p.agreed:
		return []string{"the Sentinels do not agree on who is master"}
	case m.Answers() && m.Info.Role != wire.RoleMaster:
		return []string{fmt.Sprintf("Sentinel names %s as master, which says that it is a %s", m.ID, m.Info.Role)}
	case p.shrinks() && p.leaves(m):
		return []string{fmt.Sprintf("master %s leaves as soon as another member is in sync", m.ID)}
	}
	return nil
}

// sentinelProblems are about the Sentinels' processes and what they know: one
// that does not know a replica could not make it master.
func (p *planner) sentinelProblems() []string {
	var all []string
	for ordinal := range p.Cluster.Replicas {
		m := p.Seen.ordinal(ordinal)
		switch {
		case m == nil:
		case !m.Sentinel.Running:
			all = append(all, fmt.Sprintf("the Sentinel of %s does not run: %s", m.ID, orElse(m.Sentinel.Reason, "no reason is known")))
		case m.Says.Err != nil:
			all = append(all, fmt.Sprintf("the Sentinel of %s on %s cannot be reached: %v", m.ID, address(m.sentinel()), plain(m.Says.Err)))
		case p.masterMember() != nil && !p.knowsAll(m):
			all = append(all, fmt.Sprintf("the Sentinel of %s does not know all members yet", m.ID))
		}
	}
	return all
}

// syncProblems are about members that answer and are not in sync.
func (p *planner) syncProblems() []string {
	syncing, verb := 0, "is"
	for i := range p.Seen.Members {
		m := &p.Seen.Members[i]
		if health, _ := p.health(m); health == wire.HealthSyncing && !p.leaves(m) {
			syncing++
		}
	}
	if syncing == 0 {
		return nil
	}
	if syncing > 1 {
		verb = "are"
	}
	return []string{fmt.Sprintf("%d of %d members %s syncing", syncing, p.Cluster.Replicas, verb)}
}

func address(e wire.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }
