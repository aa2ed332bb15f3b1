package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	barWidth = 30
	// barPause keeps a fast job from spending its time on drawing.
	barPause = 100 * time.Millisecond
)

// progress is a bar on stderr. The methods of a nil progress do nothing.
type progress struct {
	w     io.Writer
	label string
	drawn time.Time
	last  string
}

// progress returns nil unless stderr is a terminal.
func (s *session) progress(label string) *progress {
	w := s.cmd.ErrOrStderr()
	if !s.terminal(w) {
		return nil
	}
	return &progress{w: w, label: label}
}

// set shows how much is done, and a short note behind it.
func (p *progress) set(done, total int, note string) {
	if p == nil {
		return
	}
	now := time.Now()
	if done < total && now.Sub(p.drawn) < barPause {
		return
	}
	filled := 0
	if total > 0 {
		filled = min(done, total) * barWidth / total
	}
	bar := strings.Repeat("=", filled) + strings.Repeat(" ", barWidth-filled)
	line := fmt.Sprintf("%s [%s] %d/%d %s", p.label, bar, done, total, note)
	if line != p.last {
		fmt.Fprintf(p.w, "\r%s\x1b[K", line)
	}
	p.drawn, p.last = now, line
}

// finish takes the bar away.
func (p *progress) finish() {
	if p != nil && p.last != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
