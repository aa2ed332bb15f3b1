package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/framedb/framedb/"

// layers says what of FrameDB a folder (and those below it) may import; the
// longest folder that matches counts. A folder may always import itself and
// what is below it.
var layers = []struct {
	folder string
	may    []string
	why    string
}{
	{"client/wire", nil, "everyone imports it"},
	{"client", nil, "a program that uses FrameDB must not carry the agent"},
	{"deploy", []string{"client"}, "drivers know nothing of who decides"},
	{"raftstore/state", []string{"client/wire"}, "Apply is a pure function of the log"},
	{"raftstore", []string{"client/wire"}, "it replicates commands, whatever they mean"},
	{"cluster", []string{"client/wire"}, "gossip knows who is alive and nothing else"},
	{"actors", []string{"client", "deploy", "raftstore/state"}, "they get the store as an interface"},
	{"httpapi", []string{"client", "raftstore/state"}, "it gets store and actors as interfaces"},
	{"agent", []string{"actors", "client", "cluster", "deploy", "httpapi", "raftstore"}, "the composition root"},
}

// keepers are the only folders that may import a library, with the reason.
var keepers = []struct{ library, folder, why string }{
	{"github.com/asynkron/protoactor-go", "actors", "supervision is decided in one place"},
	{"github.com/hashicorp/raft", "raftstore", "what is replicated is decided in one place"},
	{"github.com/hashicorp/go-memdb", "raftstore/state", "tables are seen through View"},
	{"github.com/hashicorp/memberlist", "cluster", "gossip is seen through Cluster"},
	{"github.com/gin-gonic/gin", "httpapi", "routes are in one place"},
	{"k8s.io", "deploy/kubernetes", "nobody else inherits Kubernetes' modules"},
	{"github.com/spf13/cobra", "client/cli", "commands are in one place"},
	{"github.com/minio/minio-go", "client/objects", "S3 is spoken in one place"},
}

func TestImportsPointDownwards(t *testing.T) {
	for file, tree := range sources(t, parser.ImportsOnly) {
		folder := filepath.ToSlash(filepath.Dir(file))
		for _, spec := range tree.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			checkLayer(t, file, folder, path)
			checkKeeper(t, file, folder, path)
		}
	}
}

func checkLayer(t *testing.T, file, folder, path string) {
	to, ours := strings.CutPrefix(path, module)
	if !ours || strings.HasSuffix(file, "_test.go") {
		return
	}
	for _, l := range layers {
		if !below(folder, l.folder) {
			continue
		}
		for _, may := range append(l.may, l.folder) {
			if below(to, may) {
				return
			}
		}
		t.Errorf("%s imports %s, but %s imports only %v: %s", file, to, l.folder, l.may, l.why)
		return
	}
}

func checkKeeper(t *testing.T, file, folder, path string) {
	for _, k := range keepers {
		mayToo := k.library == "github.com/spf13/cobra" && folder == "agent"
		if below(path, k.library) && !below(folder, k.folder) && !mayToo {
			t.Errorf("%s imports %s, but only %s does: %s", file, path, k.folder, k.why)
		}
	}
}

func below(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func TestEachFolderHasOnePackageComment(t *testing.T) {
	comments := map[string]int{}
	for file, tree := range sources(t, parser.PackageClauseOnly|parser.ParseComments) {
		folder := filepath.Dir(file)
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		comments[folder] += 0
		if tree.Doc != nil {
			comments[folder]++
		}
	}
	for folder, n := range comments {
		if n != 1 {
			t.Errorf("%s has %d package comments, want 1", folder, n)
		}
	}
}

// sources parses every Go file of the module, by its path from the root; folders
// that are modules of their own are none of it.
func sources(t *testing.T, mode parser.Mode) map[string]*ast.File {
	t.Helper()
	const root = ".."
	files := map[string]*ast.File{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return fs.SkipDir
			}
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		tree, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
		rel, _ := filepath.Rel(root, path)
		files[rel] = tree
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
