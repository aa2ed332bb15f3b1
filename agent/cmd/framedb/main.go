// Command framedb is FrameDB's agent and its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"

	"github.com/framedb/framedb/agent"
	"github.com/framedb/framedb/client/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// go-redis would print every failed dial; whoever dials tells of it.
	logging.Disable()
	root := cli.NewRoot(agent.Version())
	root.AddCommand(agent.Command())
	if raft, _, err := root.Find([]string{"raft"}); err == nil {
		raft.AddCommand(agent.RecoverCommand())
	}
	os.Exit(cli.Execute(ctx, root))
}
