package cli

import (
	"regexp"

	"github.com/spf13/cobra"
)

var sizeShape = regexp.MustCompile(`^[1-9][0-9]{0,5}x[1-9][0-9]{0,5}$`)

// checkSizes keeps a typing error from becoming a size that no writer has.
func checkSizes(cmd *cobra.Command, flag string, sizes []string) error {
	for _, size := range sizes {
		if !sizeShape.MatchString(size) {
			return usagef(cmd, "--%s %s: give <width>x<height>, such as 608x608", flag, quoted(size))
		}
	}
	return nil
}
