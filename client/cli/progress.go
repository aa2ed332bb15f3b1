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
	p.draw(int64(done), int64(total), fmt.Sprintf("%d/%d %s", done, total, note))
}

// setBytes is set for bytes. A negative total is not known.
func (p *progress) setBytes(done, total int64, note string) {
	if p == nil {
		return
	}
	text := formatBytes(done)
	if total >= 0 {
		text += "/" + formatBytes(total)
	}
	p.draw(done, total, text+" "+note)
}

func (p *progress) draw(done, total int64, text string) {
	now := time.Now()
	if done != total && now.Sub(p.drawn) < barPause {
		return
	}
	filled := 0
	if total > 0 {
		filled = int(float64(min(done, total)) / float64(total) * barWidth)
	}
	bar := strings.Repeat("=", filled) + strings.Repeat(" ", barWidth-filled)
	line := fmt.Sprintf("%s [%s] %s", p.label, bar, text)
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
