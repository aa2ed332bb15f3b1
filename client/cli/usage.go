package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkArgs makes a wrong number of arguments a usage error that says what to
// give, in every command below cmd.
func checkArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			return wrongArgs(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		checkArgs(sub)
	}
}

func wrongArgs(cmd *cobra.Command, args []string) error {
	_, takes, some := strings.Cut(cmd.Use, " ")
	switch {
	case !some:
		return usagef(cmd, "give no argument: %q is too much", strings.Join(args, " "))
	case len(args) == 0:
		return usagef(cmd, "give %s", takes)
	}
	return usagef(cmd, "give %s, not %q", takes, strings.Join(args, " "))
}

// flagError tells what a flag takes, in other words than those of the parser.
func flagError(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return usage(cmd, err)
	}
	name, remedy := bad.GetFlag().Name, bad.Unwrap().Error()
	switch bad.GetFlag().Value.Type() {
	case "int", "int64":
		remedy = "give a whole number"
	case "uint64":
		remedy = "give a whole number that is not negative"
	case "duration":
		remedy = "give a time with its unit, such as 30s or 2m"
	case "bool":
		remedy = "give true or false"
	case "stringSlice":
		remedy = "give values separated by commas"
	}
	if errors.Is(err, strconv.ErrRange) {
		remedy = "that is out of range"
	}
	return usagef(cmd, "--%s %s: %s", name, quoted(bad.GetValue()), remedy)
}

// quoted shows an empty value as "".
func quoted(value string) string {
	if value == "" || strings.ContainsAny(value, " \t\n") {
		return fmt.Sprintf("%q", value)
	}
	return value
}
