package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// askTimeout bounds one question to one server: far above what a live one takes.
const askTimeout = time.Second

// servers is what the driver needs of Redis and Sentinel. Addresses are those
// of pods, which may be another cluster's by now: the server is asked as a user
// of the cluster's own, by the password that only its servers know.
type servers interface {
	// redis fills in how a Redis that runs stands.
	redis(ctx context.Context, ip, peer string, m *seen) error
	// sentinel does that for a Sentinel.
	sentinel(ctx context.Context, ip, peer string, m *seen) error
	// tell gives an order.
	tell(ctx context.Context, ip, peer string, o order, spec *wire.ClusterSpec) error
	// unguard lets a master take writes that no replica gets.
	unguard(ctx context.Context, ip, peer string) error
	// peerPassword asks a Redis for the cluster's own password, by the
	// deployment's, at the member's name.
	peerPassword(ctx context.Context, host, password string) (string, error)
}

// realServers asks over the network.
type realServers struct{}

var _ servers = realServers{}

// ask has f ask the server at host:port as a user; "" is the default one.
func ask(ctx context.Context, host string, port int, user, password string, f func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// Dialled before the client is made, which complains to the standard log
	// of a port where nobody listens yet.
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	rdb := redis.NewClient(&redis.Options{
		Dialer:   func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Username: user, Password: password,
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		PoolSize:                 1,
		MaxRetries:               -1, // the caller asks again
		DialerRetries:            1,
		ContextTimeoutEnabled:    true,
	})
	defer rdb.Close()
	return f(ctx, rdb)
}

func (realServers) redis(ctx context.Context, ip, peer string, m *seen) error {
	return ask(ctx, ip, redisPort, agentUser, peer, func(ctx context.Context, rdb *redis.Client) error {
		info, err := rdb.Info(ctx, "replication", "keyspace").Result()
		if err != nil {
			return err
		}
		m.readInfo(info)
		return nil
	})
}

// readInfo takes from INFO whom a Redis follows. One that is master has no
// name of its own there: follows stays zero.
func (m *seen) readInfo(info string) {
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = value
	}
	m.redis = active
	if fields["role"] == "master" {
		return
	}
	m.follows.Host = fields["master_host"]
	m.follows.Port, _ = strconv.Atoi(fields["master_port"])
	if m.follows == nobody {
		_, m.data = fields["db0"]
		m.redis, m.follows = held, wire.Endpoint{}
	}
}

func (realServers) sentinel(ctx context.Context, ip, peer string, m *seen) error {
	return ask(ctx, ip, sentinelPort, agentUser, peer, func(ctx context.Context, rdb *redis.Client) error {
		// The address is asked for by itself: in the middle of a failover
		// SENTINEL MASTER shows the old one with the new epoch.
		at, err := rdb.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", wire.MasterName).StringSlice()
		if errors.Is(err, redis.Nil) {
			m.sentinel = held
			return nil
		}
		if err != nil {
			return err
		}
		says, err := rdb.Do(ctx, "SENTINEL", "MASTER", wire.MasterName).StringSlice()
		if err != nil || len(at) != 2 {
			return errors.Join(err, fmt.Errorf("the Sentinel names the master %q", at))
		}
		m.sentinel, m.claim = active, deploy.Claim{Master: wire.Endpoint{Host: at[0]}}
		m.claim.Master.Port, _ = strconv.Atoi(at[1])
		for i := 0; i+1 < len(says); i += 2 {
			if says[i] == "config-epoch" {
				m.claim.Epoch, _ = strconv.ParseUint(says[i+1], 10, 64)
			}
		}
		return nil
	})
}

func (realServers) tell(ctx context.Context, ip, peer string, o order, spec *wire.ClusterSpec) error {
	if o.sentinel {
		return ask(ctx, ip, sentinelPort, agentUser, peer, func(ctx context.Context, rdb *redis.Client) error {
			return watchMaster(ctx, rdb, peer, o.master, spec)
		})
	}
	return ask(ctx, ip, redisPort, agentUser, peer, func(ctx context.Context, rdb *redis.Client) error {
		if o.promotes {
			return rdb.Do(ctx, "REPLICAOF", "NO", "ONE").Err()
		}
		return rdb.Do(ctx, "REPLICAOF", o.master.Host, o.master.Port).Err()
	})
}

// watchMaster has a Sentinel watch a master. What is set behind MONITOR is set
// again by the next round if it is cut off here, except for the user: then the
// Sentinel is made to forget the master.
func watchMaster(ctx context.Context, rdb *redis.Client, peer string, master wire.Endpoint, spec *wire.ClusterSpec) error {
	err := rdb.Do(ctx, "SENTINEL", "MONITOR", wire.MasterName, master.Host, master.Port, spec.Quorum).Err()
	if err != nil {
		return err
	}
	err = rdb.Do(ctx, "SENTINEL", "SET", wire.MasterName, "auth-user", sentinelUser, "auth-pass", peer,
		"down-after-milliseconds", spec.DownAfter, "failover-timeout", spec.FailoverTimeout, "parallel-syncs", spec.ParallelSyncs).Err()
	if err != nil {
		return errors.Join(err, rdb.Do(ctx, "SENTINEL", "REMOVE", wire.MasterName).Err())
	}
	// It knows replicas by INFO of the master, which it reads every 10 s by
	// default.
	return rdb.Do(ctx, "SENTINEL", "DEBUG", "INFO-PERIOD", 1000).Err()
}

func (realServers) unguard(ctx context.Context, ip, peer string) error {
	return ask(ctx, ip, redisPort, agentUser, peer, func(ctx context.Context, rdb *redis.Client) error {
		return rdb.ConfigSet(ctx, "min-replicas-to-write", "0").Err()
	})
}

func (realServers) peerPassword(ctx context.Context, host, password string) (peer string, err error) {
	err = ask(ctx, host, redisPort, "", password, func(ctx context.Context, rdb *redis.Client) error {
		got, err := rdb.ConfigGet(ctx, "master*").Result()
		if err == nil && got["masteruser"] == replicaUser {
			peer = got["masterauth"]
		}
		return err
	})
	return peer, err
}

// look asks all servers of a cluster that run, side by side.
func (d *Driver) look(ctx context.Context, name wire.ClusterName, peer string, pods []pod) []seen {
	members := make([]seen, len(pods))
	var asking sync.WaitGroup
	for i, p := range pods {
		m := &members[i]
		m.ordinal = p.ordinal
		if p.redis.running {
			m.redis = silent
			asking.Go(func() { d.asked(name, redisContainer, m, d.servers.redis(ctx, p.ip, peer, m)) })
		}
	}
	asking.Wait()
	for i, p := range pods {
		m := &members[i]
		if p.sentinel.running {
			m.sentinel = silent
			asking.Go(func() { d.asked(name, sentinelContainer, m, d.servers.sentinel(ctx, p.ip, peer, m)) })
		}
		if m.redis == active && m.follows.Port == 0 {
			m.follows = d.cfg.redis(name, p.ordinal)
		}
	}
	asking.Wait()
	return members
}

func (d *Driver) asked(name wire.ClusterName, what string, m *seen, err error) {
	if err != nil {
		d.log.Debug("a server does not answer", "member", name.Member(m.ordinal), "server", what, "error", err)
	}
}
