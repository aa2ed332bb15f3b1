package process

import (
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/redisconf"
)

// commonConf begins a file with the directives that Redis and Sentinel share.
func commonConf(s server, password string) *redisconf.File {
	f := new(redisconf.File)
	f.Set("bind", s.Host)
	f.Set("port", s.Port)
	f.Set("protected-mode", "yes")
	f.Set("requirepass", redisconf.Quoted(password))
	f.Set("daemonize", "no")
	f.Set("supervised", "no")
	f.Set("dir", redisconf.Quoted(s.dir))
	f.Set("logfile", redisconf.Quoted(s.log()))
	// The command line stays what we gave, and names the configuration file:
	// by that a process is found again, and people see in ps what it is.
	f.Set("set-proc-title", "no")
	return f
}

// redisConf is the configuration of a member. It is written afresh before each
// start, because Sentinel rewrites the file when it makes the member master or
// replica.
func redisConf(cfg *Config, s server, spec *wire.ClusterSpec, boot deploy.Boot) []byte {
	f := commonConf(s, cfg.Password)
	f.Set("masterauth", redisconf.Quoted(cfg.Password))
	f.Set("unixsocket", redisconf.Quoted(s.socket))
	f.Set("unixsocketperm", 777)
	f.Frames(spec, redisconf.Buffers{Backlog: cfg.ReplBacklog, Replica: cfg.ReplicaBuffer})
	f.Set("replica-announce-ip", s.Host)
	f.Set("replica-announce-port", s.Port)
	if boot.ReplicaOf != nil {
		f.Set("replicaof", boot.ReplicaOf.Host, boot.ReplicaOf.Port)
	}
	return f.Bytes()
}
