package agent

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// recoverIn runs `framedb raft recover` on a data directory.
func recoverIn(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	cmd := RecoverCommand()
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"--data-dir", dir}, args...))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.Execute()
	return out.String(), err
}

func TestRecoveringAStoppedAgent(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up("--node-name", "n1")
	if status, answer := p.call(http.MethodPut, "/v1/nodes/n1/label", `{"label": "gpu"}`); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	if _, err := recoverIn(t, p.dir, "--voter", "n1=127.0.0.1:5001"); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("while the agent runs: %v", err)
	}
	p.term()
	for _, c := range []struct {
		args []string
		code wire.Code
		want string
	}{
		{nil, wire.CodeMissingField, "--voter"},
		{[]string{"--voter", "n1"}, wire.CodeInvalidArgument, "voter: "},
		{[]string{"--voter", "n1=host"}, wire.CodeInvalidArgument, "voter: "},
		{[]string{"--voter", "n1=h:1", "--reader", "UP=h:1"}, wire.CodeInvalidArgument, "reader: "},
		{[]string{"--voter", "n2=h:1"}, wire.CodeInvalidArgument, "n1"},
	} {
		if _, err := recoverIn(t, p.dir, c.args...); wire.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.args, err)
		}
	}
	said, err := recoverIn(t, p.dir, "--voter", "n1=127.0.0.1:5001")
	if err != nil || !strings.Contains(said, "now:    n1 at 127.0.0.1:5001 votes") {
		t.Fatalf("%v\n%s", err, said)
	}
	p.up()
	eventually(t, 10*time.Second, func() error {
		_, answer := p.call(http.MethodGet, "/v1/status", "")
		if !strings.Contains(fmt.Sprint(answer["members"]), "gpu") {
			return fmt.Errorf("the label is gone: %v", answer["members"])
		}
		return nil
	})
	if _, err := recoverIn(t, t.TempDir(), "--voter", "n1=h:1"); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("an empty directory: %v", err)
	}
}
