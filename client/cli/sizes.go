package cli

import (
	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// checkSizes keeps a typing error from becoming a size that no writer has.
func checkSizes(cmd *cobra.Command, flag string, sizes []string) error {
	for _, size := range sizes {
		if !wire.IsSize(size) {
			return usagef(cmd, "--%s %s: give <width>x<height>, such as 608x608", flag, quoted(size))
		}
	}
	return nil
}
