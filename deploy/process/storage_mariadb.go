package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/redisconf"
)

// mariadb stands in for TiDB on one machine. It keeps what it acknowledged
// through kill -9 and a loss of power.
type mariadb struct{ path string }

var _ database = mariadb{}

func (m mariadb) kind() kind          { return mariadbServer }
func (m mariadb) engine() wire.Engine { return wire.EngineMariaDB }
func (m mariadb) program() string     { return m.path }
func (m mariadb) setsUpAtStart() bool { return true }

// mariadbOwn are settings that hold the driver's own promises.
var mariadbOwn = []string{
	"basedir", "bind_address", "datadir", "init_file", "pid_file", "plugin_dir", "plugin_load", "plugin_load_add", "port",
	"skip_grant_tables", "skip_networking", "socket", "tmpdir", "user", "defaults_file", "defaults_extra_file", "bootstrap", "chroot", "daemonize",
}

// mariadbDefaults are lean, since a laptop may run several, and lose nothing.
var mariadbDefaults = []string{
	"character_set_server=utf8mb4",
	"collation_server=utf8mb4_bin",
	"skip_name_resolve=ON",
	"max_allowed_packet=64M",
	"max_connections=200",
	"innodb_flush_log_at_trx_commit=1",
	"innodb_doublewrite=ON",
	"innodb_buffer_pool_size=64M",
	"innodb_log_file_size=96M",
	"key_buffer_size=1M",
	"aria_pagecache_buffer_size=8M",
	"table_open_cache=200",
	"performance_schema=OFF",
	"skip_log_bin=ON",
	"local_infile=OFF",
}

func (m mariadb) config(s *storage, spec *wire.StorageSpec) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# written by FrameDB before each start\n[mariadbd]\n")
	for _, line := range mariadbDefaults {
		fmt.Fprintln(&b, line)
	}
	if err := writeVariables(&b, spec.Parameters.TiDB, mariadbOwn); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		b.WriteString("user=root\n")
	}
	socket := s.socket
	if socket == "" {
		socket = "mariadbd.sock" // in the data directory, to which it changes
	}
	for _, line := range [][2]string{
		{"datadir", s.data()}, {"tmpdir", s.tmp()}, {"socket", socket}, {"pid_file", filepath.Join(s.data(), "mariadbd.pid")}, {"init_file", s.setup()},
	} {
		fmt.Fprintf(&b, "%s=%s\n", line[0], redisconf.Quoted(line[1]))
	}
	return b.Bytes(), nil
}

var variable = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,99}$`)

// writeVariables writes a JSON object of system variables, in their order.
func writeVariables(b io.Writer, object json.RawMessage, own []string) error {
	if len(object) == 0 {
		return nil
	}
	refuse := func(name, why string) error {
		return wire.InField("parameters.tidb", wire.Errorf(wire.CodeInvalidArgument, "%q %s", name, why))
	}
	var values map[string]any
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	if err := dec.Decode(&values); err != nil {
		return wire.InField("parameters.tidb", wire.Errorf(wire.CodeInvalidArgument, "%v", err))
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		plain := strings.ReplaceAll(name, "-", "_")
		if !variable.MatchString(name) {
			return refuse(name, "is no name of a system variable: this FrameDB is held by MariaDB, not TiDB")
		}
		if slices.Contains(own, plain) || slices.Contains(own, strings.TrimPrefix(plain, "loose_")) {
			return refuse(name, "is FrameDB's to set: leave it out")
		}
		text, ok := variableText(values[name])
		if !ok {
			return refuse(name, "is no string, number or boolean of one line: this FrameDB is held by MariaDB, which takes system variables")
		}
		fmt.Fprintf(b, "%s=%s\n", plain, text)
	}
	return nil
}

func variableText(value any) (text string, ok bool) {
	switch v := value.(type) {
	case bool:
		return map[bool]string{true: "ON", false: "OFF"}[v], true
	case json.Number:
		return v.String(), true
	case string:
		return redisconf.Quoted(v), !strings.ContainsAny(v, "\n\r\x00")
	}
	return "", false
}

// check has the program read the file as it does at a start. It looks into its
// data directory then, so it gets another one.
func (m mariadb) check(ctx context.Context, s *storage, conf []byte) error {
	aside, err := os.MkdirTemp(s.dir, "check-")
	if err != nil {
		return fileError(s.dir, err)
	}
	defer os.RemoveAll(aside)
	file := filepath.Join(aside, "conf")
	if err := writeFile(file, conf); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, m.path, "--defaults-file="+file, "--datadir="+aside, "--tmpdir="+aside, "--help", "--verbose")
	said, err := m.run(cmd)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	if diskIsFull(said) {
		return fileError(file, syscall.ENOSPC)
	}
	return wire.InField("parameters.tidb", wire.Errorf(wire.CodeInvalidArgument, "MariaDB refuses the parameters: %s", lastErrorOf(said)))
}

// create runs the server's own bootstrap, which gives it the system tables and
// ends. There is no user yet but the one that owns views.
func (m mariadb) create(ctx context.Context, s *storage, dir string) error {
	script, err := m.systemTables()
	if err != nil {
		return err
	}
	args := []string{"--no-defaults", "--bootstrap", "--datadir=" + dir, "--tmpdir=" + s.tmp(), "--log-warnings=0", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=96M"}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	cmd := exec.CommandContext(ctx, m.path, args...)
	cmd.Stdin = io.MultiReader(strings.NewReader("CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"), bytes.NewReader(script))
	said, err := m.run(cmd)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case diskIsFull(said):
		return fileError(dir, syscall.ENOSPC)
	}
	return wire.Errorf(wire.CodeUnavailable, "%s could not make a database: %v: %s", m.path, err, lastErrorOf(said))
}

// run runs a helper and returns what it said on stderr. The kernel kills it when
// the thread that started it ends: with us, whatever happens, and not before.
func (m mariadb) run(cmd *exec.Cmd) (said string, err error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = []string{}
	cmd.SysProcAttr = processAttr(true)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	return stderr.String(), err
}

// systemTables are the statements that come with the server, under the names
// that versions give them.
func (m mariadb) systemTables() ([]byte, error) {
	program, err := filepath.EvalSymlinks(m.path)
	if err != nil {
		return nil, err
	}
	prefix := filepath.Dir(filepath.Dir(program))
	var tried []string
	for _, share := range []string{filepath.Join(prefix, "share"), "/usr/share"} {
		for _, vendor := range []string{"mysql", "mariadb"} {
			for _, name := range []string{"mysql", "mariadb"} {
				tables := filepath.Join(share, vendor, name+"_system_tables.sql")
				script, err := os.ReadFile(tables)
				if err == nil {
					performance, _ := os.ReadFile(filepath.Join(share, vendor, name+"_performance_tables.sql"))
					return append(append(script, '\n'), performance...), nil
				}
				tried = append(tried, tables)
			}
		}
	}
	return nil, wire.InField("mariadbd", wire.Errorf(wire.CodeUnavailable,
		"the system tables of %s are not found (%s): install MariaDB by its package (apt-get install mariadb-server-core)", m.path, strings.Join(tried, ", ")))
}

var noSpace = regexp.MustCompile(`(?i)no space left on device|errcode: 28\b|errno: ?28\b|OS error 28\b|error number 28\b|failed with error 28\b`)

func diskIsFull(said string) bool { return noSpace.MatchString(said) }

// mariadbPrefix is "2026-11-30 19:33:06 0 [ERROR] ".
var mariadbPrefix = regexp.MustCompile(`^[-0-9]+ +[:0-9]+ +\d+ \[ERROR\] `)

// lastErrorOf is the last line that says what was wrong.
func lastErrorOf(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	for _, line := range slices.Backward(lines) {
		text := mariadbPrefix.ReplaceAllString(line, "")
		if text != line && !strings.HasSuffix(text, "Aborting") || strings.HasPrefix(line, "ERROR:") {
			return text
		}
	}
	return lines[len(lines)-1]
}

// lastWords is what a server that ended wrote last, for an error message.
func (s server) lastWords() string {
	if s.kind != mariadbServer {
		return lastLine(s.log())
	}
	said, err := tail(s.log(), 16<<10)
	if err != nil {
		return "see " + s.log()
	}
	return fmt.Sprintf("%q (%s)", lastErrorOf(said), s.log())
}

func tail(path string, n int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	b := make([]byte, min(n, info.Size()))
	_, err = f.ReadAt(b, info.Size()-int64(len(b)))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return string(b), err
}
