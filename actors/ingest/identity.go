package ingest

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// identity tells lanes of one spool directory from those of any other, and
// those of one start from those of the next: no place of a lane is used twice.
type identity struct {
	// Spool is random, chosen when the directory is made.
	Spool uint32 `json:"spool"`
	// Epoch grows with each start: Unix milliseconds, or one more than the last.
	Epoch uint64 `json:"epoch"`
}

const identityFile = "identity"

// openIdentity begins a new epoch. Without a directory all of it is new.
func openIdentity(dir string) (identity, error) {
	var random [4]byte
	rand.Read(random[:]) // it never fails
	id := identity{Spool: binary.BigEndian.Uint32(random[:])}
	if dir == "" {
		id.Epoch = uint64(time.Now().UnixMilli())
		return id, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return id, fmt.Errorf("ingest: %w", err)
	}
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &id); err != nil {
			return id, fmt.Errorf("ingest: %s is damaged (%w): if you remove it, spooled frames that were written just before the agent ended may be stored twice", path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return id, fmt.Errorf("ingest: %w", err)
	}
	id.Epoch = max(id.Epoch+1, uint64(time.Now().UnixMilli()))
	return id, storeIdentity(path, id)
}

func storeIdentity(path string, id identity) error {
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	defer dir.Close()
	return dir.Sync()
}

// spoolOf is the directory of a lane: <target>/<source>. Names of both have
// nothing that a path may not have; see wire.NodeTag and wire.SourceID.
func spoolOf(dir string, key laneKey) string {
	return filepath.Join(dir, string(key.target), string(key.source))
}

// leftLanes are the lanes that have a spool.
func leftLanes(dir string) ([]laneKey, error) {
	if dir == "" {
		return nil, nil
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*:*", "*"))
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	var keys []laneKey
	for _, path := range paths {
		key := laneKey{wire.SourceID(filepath.Base(path)), TargetName(filepath.Base(filepath.Dir(path)))}
		if kind, name, _ := strings.Cut(string(key.target), ":"); kind != "" && name != "" && key.source.Validate() == nil {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
