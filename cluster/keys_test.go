package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/cluster/memnet"
)

var key1, key2, key3 = key("1"), key("2"), key("3")

func key(digit string) []byte { return []byte(strings.Repeat(digit, 32)) }

func keyFile(t *testing.T, keys ...[]byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, file, keys...)
	return file
}

// writeKeys replaces the file as the documentation asks for.
func writeKeys(t *testing.T, file string, keys ...[]byte) {
	t.Helper()
	text := "# keys of gossip\n\n"
	for _, k := range keys {
		text += base64.StdEncoding.EncodeToString(k) + "\n"
	}
	writeFile(t, file, text)
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFilesThatCannotBeUsed(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(key1)
	for text, want := range map[string]string{
		"":                                "it holds 0 keys",
		"# none\n\n":                      "it holds 0 keys",
		strings.Repeat(good+"\n", 9):      "it holds 9 keys",
		good + "\nc2hvcnQ=\n":             "line 2",
		"\n" + good + "\n# x\nverysecret": "line 4",
	} {
		file := filepath.Join(t.TempDir(), "keys")
		writeFile(t, file, text)
		_, err := readKeys(file)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q gave %v, want %s", text, err, want)
		}
	}
	writeFile(t, filepath.Join(t.TempDir(), "keys"), good)
}

// TestKeysAreInstalledWhileTheyAreRead goes through all changes of three keys
// while others read the ring as memberlist does; the race detector looks on.
func TestKeysAreInstalledWhileTheyAreRead(t *testing.T) {
	ring, err := memberlist.NewKeyring(nil, key1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var reads sync.WaitGroup
	defer reads.Wait()
	defer stop()
	for range 4 {
		reads.Go(func() {
			for ctx.Err() == nil {
				for _, k := range ring.GetKeys() {
					_ = bytes.Equal(k, key2)
				}
			}
		})
	}
	all := [][][]byte{
		{key1}, {key2}, {key3}, {key1, key2}, {key2, key1}, {key1, key3}, {key2, key3}, {key3, key2, key1}, {key1, key2, key3}, {key1, key1},
	}
	for range 30 {
		for _, from := range all {
			for _, to := range all {
				if err := errors.Join(install(ring, from), install(ring, to)); err != nil {
					t.Fatal(err)
				}
				have := ring.GetKeys()
				missing := slices.DeleteFunc(slices.Clone(to), func(k []byte) bool {
					return slices.ContainsFunc(have, func(h []byte) bool { return bytes.Equal(h, k) })
				})
				distinct := slices.CompactFunc(slices.Clone(to), bytes.Equal)
				if !bytes.Equal(have[0], to[0]) || len(have) != len(distinct) || len(missing) > 0 {
					t.Fatalf("from %q to %q gave %q", from, to, have)
				}
			}
		}
	}
}

// TestKeysChangeWhileAgentsRun goes from one key to another as an operator does,
// agent by agent, and looks after each step that nobody was lost, and at the end
// that only the new key opens the door.
func TestKeysChangeWhileAgentsRun(t *testing.T) {
	bubble(t, func(t *testing.T, network *memnet.Network) {
		var agents []*Cluster
		var files []string
		for i := range 3 {
			cfg := memConfig(network, wire.NodeName(fmt.Sprint("n", i)), "10.0.0.1:7946")
			cfg.KeyFile = keyFile(t, key1)
			files = append(files, cfg.KeyFile)
			agents = append(agents, open(t, cfg))
		}
		converge(t, agents, 10*time.Second)
		for _, step := range [][][]byte{{key1, key2}, {key2, key1}, {key2}} {
			for i, file := range files {
				writeKeys(t, file, step...)
				time.Sleep(2 * keyCheck)
				for _, a := range agents {
					if n := a.members.alive(); n != 3 {
						t.Fatalf("%q on agent %d: %d are alive", step, i, n)
					}
				}
			}
		}
		old := memConfig(network, "old", "10.0.0.1:7946")
		old.KeyFile = keyFile(t, key1)
		stranger := open(t, old)
		late := memConfig(network, "new", "10.0.0.1:7946")
		late.KeyFile = keyFile(t, key2)
		agents = append(agents, open(t, late))
		converge(t, agents, 10*time.Second)
		if n := len(stranger.Members()); n != 1 {
			t.Errorf("who has the old key sees %d", n)
		}
	})
}

func TestABadKeyFileKeepsTheKeys(t *testing.T) {
	var said bytes.Buffer
	file := keyFile(t, key1)
	k, err := openKeyring(file, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		writeFile(t, file, "verysecret")
		k.reload()
	}
	if n := strings.Count(said.String(), "level=WARN"); n != 1 || strings.Contains(said.String(), "secret") {
		t.Errorf("said %d times: %s", n, said.String())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	k.reload()
	if !bytes.Equal(k.ring.GetPrimaryKey(), key1) || strings.Count(said.String(), "level=WARN") != 2 {
		t.Errorf("the key is %q; said %s", k.ring.GetPrimaryKey(), said.String())
	}
	writeKeys(t, file, key2)
	k.reload()
	if !bytes.Equal(k.ring.GetPrimaryKey(), key2) {
		t.Errorf("the good file changed nothing: the key is %q", k.ring.GetPrimaryKey())
	}
}
