package agent

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore"
)

// RecoverCommand is `framedb raft recover`. It is here and not with the rest of
// the command line because it works on the data directory, without an agent.
func RecoverCommand() *cobra.Command {
	var voters, readers []string
	var lost bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Tell a stopped agent anew who is in Raft, when most voters are gone",
		Long: `Write anew, into the data directory of an agent that does not run, which agents
are in Raft and where. It is for when they cannot agree on that by themselves:
most voters are lost for good, or the addresses of all changed and gossip does
not tell the new ones. A dead minority, one changed address and a wiped node
need none of it.

End all agents, run it with the same list on each node that is on the list, and
start them. It may be repeated. Copy the data directories first.

It is not safe in general: what only the lost ones had is lost, and should they
come back with their old directories they are another cluster. Empty those
directories before.`,
		Example: `  framedb raft recover --voter node-1=10.0.0.1:5001 --voter node-2=10.0.0.2:5001 --voter node-3=10.0.0.3:5001
  framedb raft recover --voter node-2=10.0.0.2:5001 --lost   # node-1 and node-3 do not come back`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			if cfg.DataDir == "" { // a dev agent's
				return wire.InField("data_dir", wire.Errorf(wire.CodeMissingField, "give --data-dir"))
			}
			servers, err := parseServers(voters, readers)
			if err != nil {
				return err
			}
			done, err := raftstore.Recover(raftstore.RecoverConfig{
				Dir: filepath.Join(cfg.DataDir, raftDir), Servers: servers, Lost: lost, Logger: NewLogger(cfg, os.Stderr),
			})
			if err != nil {
				return err
			}
			printRecovery(cmd.OutOrStdout(), &done)
			return nil
		},
	}
	f := cmd.Flags()
	f.String("config", "", "configuration file of the agent, YAML (FRAMEDB_CONFIG)")
	f.String("data-dir", "", "its data directory (FRAMEDB_DATA_DIR)")
	f.StringSliceVar(&voters, "voter", nil, "NODE=HOST:PORT of Raft of an agent that votes; repeatable")
	f.StringSliceVar(&readers, "reader", nil, "the same for one that does not vote")
	f.BoolVar(&lost, "lost", false, "voters that are not named are lost for good")
	return cmd
}

func parseServers(voters, readers []string) ([]wire.RaftServer, error) {
	var all []wire.RaftServer
	for i, s := range append(voters[:len(voters):len(voters)], readers...) {
		flag := "voter"
		if i >= len(voters) {
			flag = "reader"
		}
		name, addr, found := strings.Cut(s, "=")
		err := wire.NodeName(name).Validate()
		if !found {
			err = wire.Errorf(wire.CodeInvalidArgument, "%q names no address: give NODE=HOST:PORT", s)
		}
		if err == nil {
			err = checkHostPort(addr)
		}
		if err != nil {
			return nil, wire.InField(flag, err)
		}
		all = append(all, wire.RaftServer{Name: wire.NodeName(name), Address: addr, Voter: flag == "voter"})
	}
	if len(voters) == 0 {
		return nil, wire.InField("voter", wire.Errorf(wire.CodeMissingField, "nobody votes: give --voter NODE=HOST:PORT for each that does"))
	}
	return all, nil
}

func printRecovery(out io.Writer, r *raftstore.Recovery) {
	fmt.Fprintf(out, "%s: its last entry is %d of term %d\n", r.Node, r.Index, r.Term)
	fmt.Fprintf(out, "  before: %s\n  now:    %s\n", serverList(r.Before), serverList(r.After))
	fmt.Fprintf(out, "  cluster %s, which must be the same on all of them\n", r.Cluster)
	fmt.Fprintln(out, "Run it on the others of the list before you start any.")
}

func serverList(servers []wire.RaftServer) string {
	var all []string
	for _, s := range servers {
		role := "reads"
		if s.Voter {
			role = "votes"
		}
		all = append(all, fmt.Sprintf("%s at %s %s", s.Name, s.Address, role))
	}
	return strings.Join(all, ", ")
}
