package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	namespace = "framedb"
	password  = "e2e-password"
	tag       = "node-1"
)

func TestMain(m *testing.M) {
	if os.Getenv("KUBELAB") == "" {
		fmt.Fprintln(os.Stderr, "e2e: these tests run in a lab: make e2e")
		os.Exit(1)
	}
	if err := deployAgents(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: the agents do not come up:", err)
		fmt.Fprintln(os.Stderr, state())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// deployAgents does what a user does: label the nodes, apply, wait.
func deployAgents() error {
	for _, args := range []string{
		"label nodes --all framedb=" + tag,
		"apply -f manifest.yaml",
		"-n framedb rollout status daemonset/framedb-agent --timeout=120s",
		"rollout status daemonset/application --timeout=60s",
	} {
		if _, err := kubectl(strings.Fields(args)...); err != nil {
			return err
		}
	}
	return nil
}

func kubectl(args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command("kubectl", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(out.String()), nil
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := kubectl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// state is what one wants to see of a test that failed.
func state() string {
	var b strings.Builder
	for _, args := range []string{
		"get pods,statefulsets,services -A -o wide", "-n framedb get events --sort-by=.lastTimestamp",
		"-n framedb logs -l app=framedb-agent --tail=40 --prefix",
	} {
		out, err := kubectl(strings.Fields(args)...)
		fmt.Fprintf(&b, "$ kubectl %s\n%s%v\n", args, out, err)
	}
	return b.String()
}

// eventually polls until f is content, and says what it wanted.
func eventually(t *testing.T, within time.Duration, what string, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > within {
			t.Fatalf("%s: not within %v: %v\n%s", what, within, err, state())
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func nodeIPs() []string { return strings.Fields(os.Getenv("KUBELAB_NODE_IPS")) }

// node runs lab/node.sh.
func node(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command(os.Getenv("KUBELAB")+"/node.sh", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("node.sh %v: %v: %s", args, err, out)
	}
}

// post sends a request of the seed's to a node, and returns the result.
func post(ip, path, body string) (json.RawMessage, error) {
	client := http.Client{Timeout: 30 * time.Second}
	resp, err := client.Post("http://"+ip+":5000"+path, "application/json", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var envelope struct {
		Success bool
		Result  json.RawMessage
		Message string
	}
	if err := json.Unmarshal(b, &envelope); err != nil {
		return nil, fmt.Errorf("%s: %w", b, err)
	}
	if !envelope.Success {
		return nil, fmt.Errorf("%s: %s", path, envelope.Message)
	}
	return envelope.Result, nil
}

// call posts until it is answered: while a leader is elected a request is refused
// and may be sent again.
func call(t *testing.T, path, body string) (result json.RawMessage) {
	t.Helper()
	eventually(t, 30*time.Second, path, func() (err error) {
		result, err = post(nodeIPs()[0], path, body)
		return err
	})
	return result
}

// cluster is one as the v1 API shows it.
type cluster struct {
	Status struct {
		Phase, Reason, Master, Owner string
		ReadyMembers                 int `json:"ready_members"`
	}
}

func show(ip, name string) (cluster, error) {
	var c cluster
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + ip + ":5000/v1/clusters/" + name)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return c, err
	}
	if resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("%s: %s", resp.Status, b)
	}
	return c, json.Unmarshal(b, &c)
}

func ready(name string, members int) func() error {
	return func() error {
		c, err := show(nodeIPs()[0], name)
		if err != nil {
			return err
		}
		if c.Status.Phase != "ready" || c.Status.ReadyMembers != members {
			return fmt.Errorf("%s with %d members: %s", c.Status.Phase, c.Status.ReadyMembers, c.Status.Reason)
		}
		return nil
	}
}

// application runs redis-cli in the application pod of a node.
func application(node string, args ...string) (string, error) {
	pod, err := kubectl("get", "pods", "-l", "app=application", "--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[0].metadata.name}")
	if err != nil {
		return "", err
	}
	out, err := kubectl(append([]string{"exec", pod, "--", "timeout", "5", "redis-cli", "--no-auth-warning", "-a", password}, args...)...)
	if err == nil && (strings.HasPrefix(out, "ERR") || strings.HasPrefix(out, "NOREPLICAS") || strings.HasPrefix(out, "READONLY") || strings.HasPrefix(out, "Could not")) {
		err = errors.New(out)
	}
	return out, err
}

// nodeOf is the node that a pod is on.
func nodeOf(t *testing.T, pod string) string {
	t.Helper()
	return must(t, "-n", namespace, "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")
}

// left lists everything of a cluster that there is.
func left(t *testing.T, name string) string {
	t.Helper()
	return must(t, "-n", namespace, "get", "all,secrets,configmaps,poddisruptionbudgets,persistentvolumeclaims", "-l", "release="+name, "-o", "name")
}
