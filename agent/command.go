package agent

import (
	"os"

	"github.com/spf13/cobra"
)

// Command is `framedb agent`.
func Command() *cobra.Command {
	var checkOnly bool
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this node",
		Long: `Run the agent of this node until SIGINT or SIGTERM.

Every setting can stand in the configuration file (YAML), in the environment
(FRAMEDB_ and the key in upper case) and, for those below, in a flag; a flag
wins over the environment, which wins over the file.`,
		Example: `  framedb agent --dev                        # one node for trying things out
  framedb agent --config /etc/framedb.yaml --check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			if checkOnly {
				return check(cmd.OutOrStdout(), cfg)
			}
			return Run(cmd.Context(), cfg, NewLogger(cfg, os.Stderr), nil)
		},
	}
	Flags(cmd.Flags())
	cmd.Flags().BoolVar(&checkOnly, "check", false, "validate, print the effective configuration and end")
	return cmd
}
