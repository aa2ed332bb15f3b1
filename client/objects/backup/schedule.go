package backup

import (
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is the instants at which something is to be done, all in UTC and in
// whole seconds. They depend on nothing but the text, so that whoever computes
// them gets the same ones. The zero value has none.
type Schedule struct {
	text  string
	cron  cron.Schedule // nil for a period
	every time.Duration
}

// MinPeriod is the shortest period of a schedule.
const MinPeriod = time.Minute

// horizon is for how long an instant is looked for: cron knows days that come
// every eighth year at most.
const horizon = 9 * 366 * 24 * time.Hour

// ParseSchedule reads five fields of cron (minute, hour, day of month, month,
// day of week), in UTC, one of @hourly, @daily, @weekly, @monthly and @yearly,
// or "@every 1h30m": whole seconds, at least MinPeriod, at the multiples of it
// since 1970.
//
// Errors: ErrInvalidArgument with Field "schedule".
func ParseSchedule(text string) (Schedule, error) {
	text = strings.TrimSpace(text)
	if period, ok := strings.CutPrefix(text, "@every "); ok {
		d, err := time.ParseDuration(strings.TrimSpace(period))
		if err != nil || d < MinPeriod || d%time.Second != 0 || d > horizon {
			return Schedule{}, invalid("schedule", "%.100q is no period: give whole seconds, at least %v", period, MinPeriod)
		}
		return Schedule{text: text, every: d}, nil
	}
	if strings.Contains(text, "TZ=") {
		return Schedule{}, invalid("schedule", "give times in UTC, without a time zone")
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return Schedule{}, invalid("schedule", "%.100q: %v; give five fields as of cron, or @daily, or \"@every 1h\"", text, err)
	}
	s := Schedule{text: text, cron: parsed}
	if s.Next(time.Unix(0, 0)).IsZero() {
		return Schedule{}, invalid("schedule", "%.100q never comes", text)
	}
	return s, nil
}

func (s Schedule) String() string { return s.text }

// MarshalText gives what String gives.
func (s Schedule) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalText is ParseSchedule; nothing gives the zero value.
func (s *Schedule) UnmarshalText(text []byte) (err error) {
	*s = Schedule{}
	if len(text) > 0 {
		*s, err = ParseSchedule(string(text))
	}
	return err
}

// Next is the first instant after t; zero when there is none.
func (s Schedule) Next(t time.Time) time.Time {
	t = t.UTC()
	switch {
	case s.every > 0:
		period := int64(s.every / time.Second)
		n := t.Unix() / period
		if t.Unix()%period < 0 {
			n--
		}
		return time.Unix((n+1)*period, 0).UTC()
	case s.cron != nil:
		return s.cron.Next(t)
	}
	return time.Time{}
}

// Last is the latest instant that is not after t; zero when there is none
// within nine years.
func (s Schedule) Last(t time.Time) time.Time {
	for back := MinPeriod; back <= 2*horizon; back *= 2 {
		at := s.Next(t.Add(-back))
		if at.IsZero() || at.After(t) {
			continue
		}
		for next := at; !next.IsZero() && !next.After(t); next = s.Next(next) {
			at = next
		}
		return at
	}
	return time.Time{}
}

// Due tells whether something is to be done at now when it was done for the
// instant done, and for which instant: the latest, whatever was missed. A zero
// done means the time since which the schedule holds is not known: nothing is
// due before the next instant, so give the time when the schedule was made.
func (s Schedule) Due(done, now time.Time) (instant time.Time, due bool) {
	if done.IsZero() {
		return time.Time{}, false
	}
	last := s.Last(now)
	return last, !last.IsZero() && last.After(done)
}
