package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// metadataFlags are the ways to give a mapping's metadata.
type metadataFlags struct {
	object   string
	sizes    []string
	refCount int
}

func (m *metadataFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.object, "metadata", "", "a JSON object")
	cmd.Flags().StringSliceVar(&m.sizes, "sizes", nil, `its "sizes": the sizes that are written, such as 1920x1080,608x608`)
	cmd.Flags().IntVar(&m.refCount, "ref-count", 0, `its "ref_count": how many uses a frame has`)
}

func (m *metadataFlags) given(cmd *cobra.Command) bool {
	f := cmd.Flags()
	return f.Changed("metadata") || f.Changed("sizes") || f.Changed("ref-count")
}

// merge puts the flags over what there is; nil when there is nothing at all.
func (m *metadataFlags) merge(cmd *cobra.Command, old json.RawMessage) (json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	if cmd.Flags().Changed("metadata") {
		old = json.RawMessage(m.object)
	}
	if len(old) > 0 {
		if err := json.Unmarshal(old, &object); err != nil {
			return nil, usagef(cmd, "--metadata is no JSON object: %v", err)
		}
	}
	if err := checkSizes(cmd, "sizes", m.sizes); err != nil {
		return nil, err
	}
	put := func(flag, key string, v any) {
		if cmd.Flags().Changed(flag) {
			object[key], _ = json.Marshal(v) // a list of strings and a number cannot fail
		}
	}
	put("sizes", "sizes", m.sizes)
	put("ref-count", "ref_count", m.refCount)
	if len(object) == 0 {
		return nil, nil
	}
	return json.Marshal(object)
}

func (a *app) sourceMetadata() *cobra.Command {
	var tag string
	var metadata metadataFlags
	cmd := &cobra.Command{
		Use:   "metadata SOURCE",
		Short: "Show a mapping's metadata, or change it",
		Long: `Show a mapping's metadata. With --sizes or --ref-count, change that part of it;
with --metadata, replace all of it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSources(nil),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			m, err := s.mapping(ctx, wire.SourceID(args[0]), wire.NodeTag(tag))
			if err != nil {
				return err
			}
			if metadata.given(s.cmd) {
				object, err := metadata.merge(s.cmd, m.Metadata)
				if err != nil {
					return err
				}
				if len(object) == 0 {
					object = json.RawMessage("{}")
				}
				if m, err = s.client.UpdateMapping(ctx, m.Source, m.NodeTag, wire.UpdateMapping{Metadata: object}); err != nil {
					return err
				}
			}
			if len(m.Metadata) == 0 {
				m.Metadata = json.RawMessage("{}")
			}
			return s.print(m.Metadata, func() { fmt.Fprintln(s.out, string(m.Metadata)) })
		}),
	}
	a.addTagFlag(cmd, &tag)
	metadata.add(cmd)
	return cmd
}
