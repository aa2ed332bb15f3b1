package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/framedb/framedb/client/wire"
)

const (
	// keyCheck is how often the key file is read. Lower: a step of a change of
	// keys is over sooner; higher: less work.
	keyCheck = 5 * time.Second
	// maxKeys bounds the keys: each packet that belongs elsewhere is tried with
	// all of them. A change of keys needs two.
	maxKeys = 8
)

// keyring keeps memberlist's keys as they are in a file.
type keyring struct {
	file    string
	log     *slog.Logger
	ring    *memberlist.Keyring // nil without a file
	keys    [][]byte            // those in ring
	failure string              // why the file could not be used when last read
}

func openKeyring(file string, log *slog.Logger) (*keyring, error) {
	k := &keyring{file: file, log: log}
	if file == "" {
		return k, nil
	}
	var err error
	if k.keys, err = readKeys(file); err != nil {
		return nil, wire.InField("key_file", wire.Errorf(wire.CodeInvalidArgument, "%v", err))
	}
	k.ring, err = memberlist.NewKeyring(k.keys, k.keys[0])
	return k, err
}

// follow reads the file again and again until ctx ends.
func (k *keyring) follow(ctx context.Context) {
	for k.file != "" && sleep(ctx, keyCheck) {
		k.reload()
	}
}

func (k *keyring) reload() {
	keys, err := readKeys(k.file)
	if err == nil && !slices.EqualFunc(keys, k.keys, bytes.Equal) {
		if err = install(k.ring, keys); err == nil {
			k.keys = keys
			k.log.Info("keys of gossip changed", "keys", len(keys))
		}
	}
	failure := ""
	if err != nil {
		failure = err.Error()
		if failure != k.failure {
			k.log.Warn("key file cannot be used: the keys stay as they were", "error", err)
		}
	}
	k.failure = failure
}

// install makes keys those of ring, the first one primary. RemoveKey moves keys
// about in a slice that memberlist is reading, unless it takes the last one; so
// keys go from the end until none is left that must go, and those that went with
// them come back.
func install(ring *memberlist.Keyring, keys [][]byte) error {
	if err := errors.Join(ring.AddKey(keys[0]), ring.UseKey(keys[0])); err != nil {
		return err
	}
	goes := func(key []byte) bool {
		return !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
	}
	for have := ring.GetKeys(); slices.ContainsFunc(have, goes); have = ring.GetKeys() {
		if err := ring.RemoveKey(have[len(have)-1]); err != nil {
			return err
		}
	}
	for _, key := range keys[1:] {
		if err := ring.AddKey(key); err != nil {
			return err
		}
	}
	return nil
}

// readKeys reads one key from each line. Its errors never show what a line
// holds.
func readKeys(file string) ([][]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for n, line := range entries(b) {
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || memberlist.ValidateKey(key) != nil {
			return nil, fmt.Errorf("%s: line %d: give 16, 24 or 32 bytes in base64, for instance from: head -c 32 /dev/urandom | base64", file, n)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("%s: it holds %d keys: give 1 to %d, one on each line", file, len(keys), maxKeys)
	}
	return keys, nil
}

// entries gives the lines that are not empty and no comment, by number from 1.
func entries(b []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "#") && !yield(n, line) {
				return
			}
		}
	}
}
