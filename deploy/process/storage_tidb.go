package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// tidb is one tidb-server with its embedded store, for development: without PD
// and TiKV there is one copy, on this machine.
type tidb struct{ path string }

var _ database = tidb{}

func (t tidb) kind() kind          { return tidbServer }
func (t tidb) engine() wire.Engine { return wire.EngineTiDB }
func (t tidb) program() string     { return t.path }

// setsUpAtStart: only the first start executes initialize-sql-file.
func (t tidb) setsUpAtStart() bool { return false }

// tidbOwn are settings that hold the driver's own promises.
var tidbOwn = []string{"host", "port", "socket", "store", "path", "initialize-sql-file", "temp-dir", "log.file.filename", "status.report-status", "security.skip-grant-table"}

func (t tidb) config(s *storage, spec *wire.StorageSpec) ([]byte, error) {
	values := map[string]string{}
	if err := flatten(values, "", spec.Parameters.TiDB); err != nil {
		return nil, err
	}
	for _, own := range tidbOwn {
		if _, given := values[own]; given {
			return nil, wire.InField("parameters.tidb", wire.Errorf(wire.CodeInvalidArgument, "%q is FrameDB's to set: leave it out", own))
		}
	}
	for name, value := range map[string]any{
		"store": "unistore", "path": s.data(), "socket": s.socket, "temp-dir": s.tmp(),
		"initialize-sql-file": s.setup(), "status.report-status": false,
	} {
		values[name] = tomlValue(value)
	}
	var b bytes.Buffer
	b.WriteString("# written by FrameDB before each start\n")
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&b, "%s = %s\n", tomlKey(name), values[name])
	}
	return b.Bytes(), nil
}

// flatten makes dotted keys of an object within an object, which TOML takes.
func flatten(into map[string]string, prefix string, object json.RawMessage) error {
	if len(object) == 0 {
		return nil
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(object, &values); err != nil {
		return wire.InField("parameters.tidb", wire.Errorf(wire.CodeInvalidArgument, "%v", err))
	}
	for name, text := range values {
		if name == "" || strings.ContainsAny(name, ".\"\\\n\r") {
			return wire.InField("parameters.tidb", wire.Errorf(wire.CodeInvalidArgument, "%q is no name of a setting", name))
		}
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
			if err := flatten(into, prefix+name+".", text); err != nil {
				return err
			}
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		var value any
		if err := dec.Decode(&value); err != nil || value == nil {
			return wire.InField("parameters.tidb", wire.Errorf(wire.CodeInvalidArgument, "%q is no value of a setting", prefix+name))
		}
		into[prefix+name] = tomlValue(value)
	}
	return nil
}

// tomlValue: JSON's strings, numbers, booleans and lists of those are TOML's.
func tomlValue(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err) // it came out of JSON
	}
	return string(b)
}

func tomlKey(dotted string) string {
	parts := strings.Split(dotted, ".")
	for i := range parts {
		parts[i] = tomlValue(parts[i])
	}
	return strings.Join(parts, ".")
}

func (t tidb) check(ctx context.Context, s *storage, conf []byte) error {
	file := filepath.Join(s.dir, "check.conf")
	if err := writeFile(file, conf); err != nil {
		return err
	}
	said, err := exec.CommandContext(ctx, t.path, "--config="+file, "--config-check").CombinedOutput()
	var exit *exec.ExitError
	if ctx.Err() != nil || !errors.As(err, &exit) {
		return ctx.Err()
	}
	return wire.InField("parameters.tidb", wire.Errorf(wire.CodeInvalidArgument, "TiDB refuses the parameters: %s", bytes.TrimSpace(said)))
}

// create has nothing to do: the server makes its files when it first starts.
func (t tidb) create(context.Context, *storage, string) error { return nil }
