package cluster

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// lineLogger gives memberlist the *log.Logger that it takes. Its lines begin
// with their level: "[WARN] memberlist: …".
func lineLogger(to *slog.Logger) *log.Logger { return log.New(lineWriter{to}, "", 0) }

type lineWriter struct{ log *slog.Logger }

// Write gets one line at a time.
func (w lineWriter) Write(line []byte) (int, error) {
	level, msg := splitLine(strings.TrimSpace(string(line)))
	w.log.Log(context.Background(), level, msg)
	return len(line), nil
}

// splitLine takes the level off a line. What has none is memberlist's news of
// itself, which is debug as its [INFO] is.
func splitLine(line string) (slog.Level, string) {
	level := slog.LevelDebug
	tag, msg, ok := strings.Cut(line, "] ")
	if !ok || !strings.HasPrefix(tag, "[") {
		return level, line
	}
	switch tag[1:] {
	case "WARN":
		level = slog.LevelWarn
	case "ERR", "ERROR":
		level = slog.LevelError
	}
	return level, strings.TrimPrefix(msg, "memberlist: ")
}
