package wire

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ClusterName names an in-memory FrameDB cluster: one Redis master, its
// replicas and their Sentinels. It becomes part of Kubernetes object names
// (C-redis-node-0, label values with a hash behind them), hence a lower-case
// DNS label of at most 40 characters.
type ClusterName string

// FrameDBID names one FrameDB instance: a member of an in-memory cluster
// (C-redis-node-0) or a persistent instance. A DNS label, at most 63 characters.
type FrameDBID string

// NodeTag selects nodes; it is the value of the node label "framedb". A
// Kubernetes label value, at most 63 characters.
type NodeTag string

// NodeName names a node and the agent on it; it is the Raft and the gossip
// identity as well. A lower-case DNS subdomain of at most 128 characters.
type NodeName string

// SourceID names a producer of frames. It is the first part of every frame key
// ("<source>?<updates>?<restarts>__<n>__<WxH>"), hence neither '?' nor "__"
// may stand in it. At most 200 characters.
type SourceID string

// RequestID makes a mutation safe to retry: two commands with one ID are
// applied once. At most 128 printable ASCII characters; empty means that the
// caller does not retry.
type RequestID string

// MasterName is the name under which every cluster's Sentinels know its master.
const MasterName = "mymaster"

// Longest names, in characters.
const (
	MaxClusterName = 40
	MaxFrameDBID   = 63
	MaxNodeTag     = 63
	MaxNodeName    = 128
	MaxSourceID    = 200
	MaxRequestID   = 128
)

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	labelValue   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	sourceID     = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.:@]*$`)
	printable    = regexp.MustCompile(`^[!-~]*$`)
)

func checkName(kind, value string, maxLen int, shape *regexp.Regexp, rule string) error {
	switch {
	case value == "":
		return Errorf(CodeInvalidArgument, "%s is empty: give %s", kind, rule)
	case len(value) > maxLen:
		return Errorf(CodeInvalidArgument, "%s has %d characters: at most %d are allowed", kind, len(value), maxLen)
	case !shape.MatchString(value):
		return Errorf(CodeInvalidArgument, "%s %q is not allowed: give %s", kind, value, rule)
	}
	return nil
}

// Validate returns an ErrInvalidArgument that states the rule when the name
// breaks it.
func (n ClusterName) Validate() error {
	return checkName("cluster name", string(n), MaxClusterName, dnsLabel,
		"lower-case letters, digits and '-', starting and ending with a letter or digit")
}

// Validate returns an ErrInvalidArgument that states the rule when the ID
// breaks it.
func (id FrameDBID) Validate() error {
	return checkName("FrameDB ID", string(id), MaxFrameDBID, dnsLabel,
		"lower-case letters, digits and '-', starting and ending with a letter or digit")
}

// Validate returns an ErrInvalidArgument that states the rule when the tag
// breaks it.
func (t NodeTag) Validate() error {
	return checkName("node tag", string(t), MaxNodeTag, labelValue,
		"letters, digits, '-', '_' and '.', starting and ending with a letter or digit")
}

// Validate returns an ErrInvalidArgument that states the rule when the name
// breaks it.
func (n NodeName) Validate() error {
	return checkName("node name", string(n), MaxNodeName, dnsSubdomain,
		"lower-case letters, digits, '-' and '.', each part starting and ending with a letter or digit")
}

// Validate returns an ErrInvalidArgument that states the rule when the ID
// breaks it.
func (id SourceID) Validate() error {
	const rule = "letters, digits and - _ . : @, starting with a letter or digit, without \"__\""
	if err := checkName("source ID", string(id), MaxSourceID, sourceID, rule); err != nil {
		return err
	}
	if strings.Contains(string(id), "__") {
		return Errorf(CodeInvalidArgument, "source ID %q is not allowed: \"__\" separates the parts of a frame key", string(id))
	}
	return nil
}

// Validate returns an ErrInvalidArgument when the ID is too long or not
// printable ASCII. The empty ID is valid.
func (id RequestID) Validate() error {
	if len(id) > MaxRequestID || !printable.MatchString(string(id)) {
		return Errorf(CodeInvalidArgument, "request ID is not allowed: give at most %d printable ASCII characters", MaxRequestID)
	}
	return nil
}

// Member returns the FrameDB ID of the cluster's member with this ordinal.
func (n ClusterName) Member(ordinal int) FrameDBID {
	return FrameDBID(fmt.Sprintf("%s-redis-node-%d", n, ordinal))
}

// SplitMember takes C-redis-node-i apart; ok is false for any other ID.
func (id FrameDBID) SplitMember() (cluster ClusterName, ordinal int, ok bool) {
	name, number, found := cutLast(string(id), "-redis-node-")
	if !found || name == "" {
		return "", 0, false
	}
	ordinal, err := strconv.Atoi(number)
	if err != nil || ordinal < 0 || strconv.Itoa(ordinal) != number {
		return "", 0, false
	}
	return ClusterName(name), ordinal, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
