package agent

import (
	"errors"
	"fmt"
	"io"

	"github.com/framedb/framedb/deploy/process"
)

// check prints the configuration in force, with what a start would choose.
//
// Errors: those that a start would end with and that can be told before: a node
// name that is not the data directory's, Redis' programs.
func check(out io.Writer, cfg Config) error {
	var errName error
	if cfg.DataDir == "" {
		fill(&cfg.NodeName, hostName())
		fmt.Fprintln(out, "# In a temporary directory that is made at the start: data_dir, socket, socket_dir, password_file")
	} else {
		cfg.NodeName, _, errName = (&dataDir{path: cfg.DataDir}).chooseName(cfg.NodeName)
	}
	server, sentinel, errPrograms := process.Programs(cfg.RedisServer, cfg.RedisSentinel)
	if err := errors.Join(errName, errPrograms); err != nil {
		return err
	}
	cfg.RedisServer, cfg.RedisSentinel = server, sentinel
	_, err := fmt.Fprintln(out, cfg.YAML())
	return err
}
