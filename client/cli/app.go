package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client"
)

// app is what all commands share: the global flags.
type app struct {
	// program is how this one was called, for hints that can be run as printed.
	program string
	addr    string
	output  format
	timeout time.Duration
	// terminal reports whether a reader or writer is a terminal.
	terminal func(stream any) bool
}

// format is the value of --output.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
)

func (f *format) String() string { return string(f.or(formatTable)) }
func (f *format) Type() string   { return "format" }

func (f *format) Set(s string) error {
	if s != string(formatTable) && s != string(formatJSON) {
		return errors.New("give table or json")
	}
	*f = format(s)
	return nil
}

func (f *format) or(otherwise format) format {
	if *f == "" {
		return otherwise
	}
	return *f
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

func (a *app) config() client.Config {
	var cfg client.Config
	if a.addr != "" {
		cfg.Addrs = strings.Split(a.addr, ",")
	}
	return cfg
}

// session is one run of a command that talks to an agent.
type session struct {
	*app
	cmd    *cobra.Command
	client *client.Client
	out    io.Writer
	// closers run at the end.
	closers []func() error
}

// run makes a session for a command and runs f in it, bounded by --timeout. An
// agent that is not there is told of at once.
func (a *app) run(f func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if a.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, a.timeout)
			defer cancel()
		}
		c, err := client.New(a.config())
		if err != nil {
			return usage(cmd, err)
		}
		defer c.Close()
		if err := c.Ping(ctx); err != nil {
			return a.unreached(ctx, err)
		}
		s := &session{app: a, cmd: cmd, client: c, out: cmd.OutOrStdout()}
		defer s.close()
		return f(ctx, s, args)
	}
}

func (s *session) close() {
	for _, f := range s.closers {
		f()
	}
}

// unreached says what to do when no agent answers.
func (a *app) unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w\nStart an agent (%s agent --dev is one for trying things out), or say where one is by --addr or %s", err, a.program, client.EnvAddr)
}

// commandLine begins a command that the user may run next.
func (a *app) commandLine() string {
	if a.addr == "" {
		return a.program
	}
	return a.program + " --addr " + a.addr
}

func (a *app) json() bool { return a.output.or(formatTable) == formatJSON }

// print prints v as JSON, or calls the printer of tables.
func (s *session) print(v any, tables func()) error {
	if !s.json() {
		tables()
		return nil
	}
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printLine prints v as one line of JSON, or the line for people.
func (s *session) printLine(v any, format string, args ...any) error {
	if !s.json() {
		_, err := fmt.Fprintf(s.out, format+"\n", args...)
		return err
	}
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// note tells a person something beside the output.
func (s *session) note(format string, args ...any) {
	fmt.Fprintf(s.cmd.ErrOrStderr(), format+"\n", args...)
}

// confirm asks a person on a terminal; a program is not asked.
func (s *session) confirm(ctx context.Context, question string) error {
	in := s.cmd.InOrStdin()
	if !s.terminal(in) {
		return nil
	}
	fmt.Fprintf(s.cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // ends with the line, or with the process: a terminal's read cannot be called off
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
		return errors.New("nothing was changed")
	case <-ctx.Done():
		return ctx.Err()
	}
}
