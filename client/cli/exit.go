package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// The exit codes; rootHelp documents them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitUnavailable = 5
)

// usageError is a wrong command line.
type usageError struct {
	command string // whose help tells more
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage returns nil for nil.
func usage(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return &usageError{cmd.CommandPath(), err}
}

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return usage(cmd, fmt.Errorf(format, args...))
}

// exitCode is the one place that maps an error to an exit code.
func exitCode(err error) int {
	var wrong *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(err, context.DeadlineExceeded):
		return exitUnavailable
	}
	switch wire.CodeOf(err) {
	case wire.CodeInvalidArgument, wire.CodeMissingField, wire.CodeUnknownField, wire.CodeMalformed:
		return exitUsage
	case wire.CodeNotFound:
		return exitNotFound
	case wire.CodeAlreadyExists, wire.CodeConflict, wire.CodeNoLiveNode, wire.CodeNoCluster, wire.CodePrecondition:
		return exitConflict
	case wire.CodeUnavailable, wire.CodeNoLeader, wire.CodeOutcomeUnknown, wire.CodeOverloaded, wire.CodeTimeout, wire.CodeOperatorMissing:
		return exitUnavailable
	}
	return exitFailed
}

// explain is what a person reads of an error.
func explain(cmd *cobra.Command, err error) string {
	var wrong *usageError
	switch {
	case errors.As(err, &wrong):
		return fmt.Sprintf("%v\nSee '%s --help'.", err, wrong.command)
	case errors.Is(err, context.Canceled):
		return cmd.CommandPath() + " was interrupted"
	}
	return err.Error()
}
