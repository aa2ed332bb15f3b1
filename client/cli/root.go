package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
)

const rootHelp = `FrameDB keeps large binary data (video frames, images, text) on the nodes where
it is used: in Redis while it is hot, in TiDB when it is to last.

The agent is found by --addr, else ` + client.EnvAddr + `, else its unix socket on this
machine, else ` + client.DefaultAddr + `.

Exit codes:
  0  it is done
  1  it failed
  2  the command line or a value in it is wrong
  3  there is no such cluster, instance, source, node, frame or object
  4  it exists already, or is in a state that forbids this
  5  no agent, no leader, no Redis or no database answered, or the time was over`

// NewRoot builds the command tree, without the agent's own command.
func NewRoot(version string) *cobra.Command {
	return newRoot(&app{program: os.Args[0], terminal: isTerminal}, version)
}

func newRoot(a *app, version string) *cobra.Command {
	root := &cobra.Command{
		Use:           "framedb",
		Short:         "Keep frames near those who use them",
		Long:          rootHelp,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          showHelp,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.addr, "addr", "", "the agent: http://host:port or unix:///path, several separated by commas")
	flags.VarP(&a.output, "output", "o", "how to print: table or json")
	flags.DurationVar(&a.timeout, "timeout", 0, "give up after this long, such as 30s (default: never)")
	root.SetFlagErrorFunc(flagError)
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	root.AddCommand(a.statusCommand(), a.clusterCommand(), a.storageCommand(), a.sourceCommand(), a.frameCommand(), a.leaseCommand(), a.objectCommand(), a.backupCommand(), a.ingestCommand(), a.ingestionCommand(),
		a.nodeCommand(), a.raftCommand(), a.resolveCommand(), a.eventsCommand(), a.demoCommand())
	return root
}

// addCompletion adds cobra's completion command, which knows four shells, and
// has it refuse others like every group does.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	if cmd, _, err := root.Find([]string{"completion"}); err == nil {
		cmd.Args, cmd.RunE = cobra.ArbitraryArgs, showHelp
	}
}

// group is a command that only holds others.
func group(use, short string, subcommands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: showHelp}
	cmd.AddCommand(subcommands...)
	return cmd
}

// showHelp runs a group without a known subcommand.
func showHelp(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = 2 // cobra sets its default too late
	err := fmt.Errorf("there is no command %q", cmd.CommandPath()+" "+args[0])
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(like, " or "))
	}
	return usage(cmd, err)
}

// Execute runs the command line of the process, prints what went wrong to
// stderr and returns the exit code. Call it once for a root.
func Execute(ctx context.Context, root *cobra.Command) int {
	addCompletion(root)
	checkArgs(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(root.ErrOrStderr(), "framedb: "+explain(cmd, err))
	return exitCode(err)
}

// must is for the building of the tree: an error there is a wrong program.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// defaultWait is how long commands wait for what they asked for.
const defaultWait = 2 * time.Minute
