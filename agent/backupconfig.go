package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/knadh/koanf/v2"

	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/wire"
)

const backupTargetsKey = "backup_targets"

// takeBackupTargets takes the targets out of what was read, because koanf
// neither refuses what is unknown inside of a list nor a number for a text.
//
// Errors: ErrInvalidArgument and CodeUnknownField, with the key.
func takeBackupTargets(k *koanf.Koanf) ([]backup.Target, error) {
	given := k.Get(backupTargetsKey)
	k.Delete(backupTargetsKey)
	if given == nil {
		return nil, nil
	}
	list, isList := given.([]any)
	if !isList {
		return nil, wire.InField(backupTargetsKey, wire.Errorf(wire.CodeInvalidArgument, "it cannot be read: give a list of targets"))
	}
	targets := make([]backup.Target, len(list))
	for i, one := range list {
		if err := readTarget(one, &targets[i]); err != nil {
			return nil, inTarget(i, err)
		}
	}
	return targets, nil
}

func readTarget(given any, to *backup.Target) error {
	text, err := json.Marshal(given)
	if err != nil {
		return wire.Errorf(wire.CodeInvalidArgument, "it cannot be read: %v", err)
	}
	known := targetKeys()
	if values, is := given.(map[string]any); is {
		for key := range values {
			if !strings.Contains(" "+known+" ", " "+key+" ") {
				e := wire.Errorf(wire.CodeUnknownField, "it is unknown: known keys are %s", strings.ReplaceAll(known, " ", ", "))
				e.Field = key
				return e
			}
		}
	}
	var wrong *json.UnmarshalTypeError
	err = json.NewDecoder(bytes.NewReader(text)).Decode(to)
	if errors.As(err, &wrong) && wrong.Field != "" {
		want := map[reflect.Kind]string{reflect.Bool: "true or false"}[wrong.Type.Kind()]
		if want == "" {
			want = "text; quotes make one of a number"
		}
		e := wire.Errorf(wire.CodeInvalidArgument, "it is a %s: give %s", wrong.Value, want)
		e.Field = wrong.Field
		return e
	}
	if err != nil {
		return wire.Errorf(wire.CodeInvalidArgument, "it cannot be read: give %s", known)
	}
	return nil
}

// targetKeys are the keys of a target, with spaces between them.
func targetKeys() string {
	var keys []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[backup.Target]()) {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys = append(keys, key)
	}
	return strings.Join(keys, " ")
}

// inTarget names the key of the configuration that is at fault.
func inTarget(i int, err error) error {
	at := fmt.Sprintf("%s[%d]", backupTargetsKey, i)
	e := *wire.AsError(err)
	e.Message = strings.TrimPrefix(e.Message, e.Field+": ")
	if e.Field != "" {
		at += "." + e.Field
	}
	e.Field = ""
	return wire.InField(at, &e)
}

// checkBackupTargets looks at the form, at names that stand twice, and at the
// files, and dials nothing.
func checkBackupTargets(targets []backup.Target) []error {
	var wrong []error
	seen := map[string]bool{}
	for i, t := range targets {
		if err := checkTarget(t, seen[t.Name]); err != nil {
			wrong = append(wrong, inTarget(i, err))
		}
		seen[t.Name] = true
	}
	return wrong
}

func checkTarget(t backup.Target, twice bool) error {
	repo, err := backup.New(t, backup.Config{})
	if err != nil {
		return err
	}
	repo.Close()
	if twice {
		return wire.InField("name", wire.Errorf(wire.CodeInvalidArgument, "%q is the name of another target, too", t.Name))
	}
	for _, f := range []struct{ key, path string }{{"access_key_file", t.AccessKeyFile}, {"secret_key_file", t.SecretKeyFile}} {
		if err := checkReadable(f.path); err != nil {
			return wire.InField(f.key, asInvalid(err))
		}
	}
	return nil
}
