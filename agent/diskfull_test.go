package agent

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tmpfsEnv makes the child mount a small tmpfs on its data directory, in a
// mount namespace of its own, so that it vanishes with the agent.
const tmpfsEnv = "FRAMEDB_TEST_TMPFS"

func mountTmpfs(dir, size string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
}

// isolated gives the child its own mounts; a user who is not root gets a user
// namespace in which that is allowed.
func isolated() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

func TestDiskFullAtTheDataDirectory(t *testing.T) {
	t.Parallel()
	t.Run("at the start", func(t *testing.T) {
		p := newProc(t)
		p.attr = isolated()
		p.env = []string{tmpfsEnv + "=8k"}
		if said := p.fails(); !strings.Contains(said, "free some") {
			t.Errorf("the agent says\n%s", said)
		}
	})
	t.Run("while running", func(t *testing.T) {
		p := newProc(t)
		p.attr = isolated()
		p.env = []string{tmpfsEnv + "=16m"}
		p.up()
		// The agent's own view of the directory is reached through /proc.
		filler := fmt.Sprintf("/proc/%d/root%s/filler", p.cmd.Process.Pid, p.dir)
		fillDisk(t, filler)
		eventually(t, 20*time.Second, func() error {
			// The log has space of its own, which these fill, though they are refused.
			status, answer := p.call(http.MethodPost, "/v1/sources/s/mappings", fmt.Sprintf(`{"node_tag": "t", "cluster": "none", "metadata": {"x": %q}}`, strings.Repeat("x", 60<<10)))
			if status != http.StatusInsufficientStorage || answer["code"] != "disk_full" || !strings.Contains(fmt.Sprint(answer["message"]), "free some") {
				return fmt.Errorf("%d %v", status, answer)
			}
			return nil
		})
		if wrong := p.degraded(); !strings.Contains(wrong, "the disk of node "+p.node()+" is full: ") {
			t.Errorf("degraded: %s", wrong)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, func() error {
			status, answer := p.call(http.MethodPut, "/v1/nodes/"+p.node()+"/label", `{"label": "after"}`)
			if status != 200 {
				return fmt.Errorf("with space again: %d %v", status, answer)
			}
			return nil
		})
		if wrong := p.degraded(); strings.Contains(wrong, "full") {
			t.Errorf("degraded with space again: %s", wrong)
		}
	})
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
}

// degraded is what the agent says is wrong.
func (p *proc) degraded() string {
	_, answer := p.call(http.MethodGet, "/v1/status", "")
	return fmt.Sprint(answer["degraded"])
}

// node is the agent's name.
func (p *proc) node() string {
	_, answer := p.call(http.MethodGet, "/v1/status", "")
	return fmt.Sprint(answer["node"])
}
