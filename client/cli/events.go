package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

func (a *app) eventsCommand() *cobra.Command {
	var tables []string
	var since uint64
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Follow the changes of the store until interrupted",
		Long: `Follow the changes of the store until interrupted. It begins with all rows there
are, unless --since names an index and the changes after it are remembered. With
-o json each line is an event.`,
		Args: cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s *session, _ []string) error {
			var chosen []wire.Table
			for _, name := range tables {
				if !slices.Contains(wire.Tables, wire.Table(name)) {
					return usagef(s.cmd, "there is no table %q: give some of %s", name, join(wire.Tables))
				}
				chosen = append(chosen, wire.Table(name))
			}
			return s.follow(ctx, since, chosen, func(e wire.Event) error {
				line := fmt.Sprintf("%-8d %-10s %-6s %s  %s", e.Index, e.Table, e.Op, e.Key, summary(&e))
				return s.printLine(e, "%s", strings.TrimRight(line, " "))
			})
		}),
	}
	cmd.Flags().StringSliceVar(&tables, "table", nil, "only these: "+join(wire.Tables)+" (default: all)")
	cmd.Flags().Uint64Var(&since, "since", 0, "go on after this index")
	must(cmd.RegisterFlagCompletionFunc("table", cobra.FixedCompletions(strings.Split(join(wire.Tables), ","), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// follow hands events on until ctx ends, which is how a person ends it and no
// failure.
func (s *session) follow(ctx context.Context, since uint64, tables []wire.Table, take func(wire.Event) error) error {
	for e, err := range s.client.Watch(ctx, since, tables...) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := take(e); err != nil {
			return err
		}
	}
	return nil
}

// summary is what a person wants to know of a row.
func summary(e *wire.Event) string {
	var row struct {
		Cluster wire.ClusterName `json:"cluster"`
		Target  wire.FrameDBID   `json:"target"`
		Role    wire.Role        `json:"role"`
		Health  wire.Health      `json:"health"`
		Reason  string           `json:"reason"`
		Address string           `json:"address"`
		Status  struct {
			Phase  wire.Phase  `json:"phase"`
			Engine wire.Engine `json:"engine"`
			Reason string      `json:"reason"`
		} `json:"status"`
	}
	if e.Op != wire.OpPut || json.Unmarshal(e.After, &row) != nil {
		return ""
	}
	var parts []string
	add := func(s string) {
		if s != "" {
			parts = append(parts, s)
		}
	}
	switch e.Table {
	case wire.TableClusters, wire.TablePersistent:
		add(string(row.Status.Phase))
		add(string(row.Status.Engine))
		add(row.Status.Reason)
	case wire.TableMappings:
		add("to " + string(row.Cluster))
	case wire.TableIngestions:
		if row.Target != "" {
			add("to " + string(row.Target))
		}
	default:
		add(string(row.Role))
		add(string(row.Health))
		add(row.Address)
		add(row.Reason)
	}
	return strings.Join(parts, " ")
}
