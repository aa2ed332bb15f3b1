package raftstore

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func newTestLogger() *raftLogger { return &raftLogger{log: slog.New(slog.DiscardHandler)} }

func TestRaftsLogKeepsItsMeaning(t *testing.T) {
	var out bytes.Buffer
	l := &raftLogger{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	l.expectWarning()
	l.Warn("expected")
	l.Warn("unexpected", "servers", hclog.Fmt("%d of %d", 2, 3))
	l.Info("election won")
	l.Trace("not wanted")
	l.With("peer", "n2").Named("net").Error("gone", "error", "refused")
	got := out.String()
	for _, want := range []string{
		"level=DEBUG msg=expected", `level=WARN msg=unexpected servers="2 of 3"`,
		`level=DEBUG msg="election won"`, "level=ERROR msg=gone peer=n2 error=refused",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "not wanted") || l.IsTrace() || !l.IsDebug() || l.GetLevel() != hclog.Debug {
		t.Errorf("levels are wrong:\n%s", got)
	}
}
