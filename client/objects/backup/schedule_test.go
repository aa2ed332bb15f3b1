package backup

import (
	"errors"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestSchedule(t *testing.T) {
	for _, c := range []struct{ text, now, last, next string }{
		{"0 3 * * *", "2026-11-30T03:00:00Z", "2026-11-30T03:00:00Z", "2026-12-01T03:00:00Z"},
		{"0 3 * * *", "2026-11-30T02:59:59Z", "2026-11-29T03:00:00Z", "2026-11-30T03:00:00Z"},
		{"0 3 * * *", "2026-11-30T04:30:00+02:00", "2026-11-29T03:00:00Z", "2026-11-30T03:00:00Z"},
		{"*/15 8-17 * * mon-fri", "2026-11-29T12:00:00Z", "2026-11-27T17:45:00Z", "2026-11-30T08:00:00Z"},
		{"0 0 29 2 *", "2026-11-30T00:00:00Z", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"* * * * *", "2026-11-30T00:00:30Z", "2026-11-30T00:00:00Z", "2026-11-30T00:01:00Z"},
		{"@hourly", "2026-11-30T00:00:30Z", "2026-11-30T00:00:00Z", "2026-11-30T01:00:00Z"},
		{"@daily", "2026-11-30T00:00:30Z", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"@yearly", "2026-11-30T00:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"@every 1h", "2026-11-30T10:20:30Z", "2026-11-30T10:00:00Z", "2026-11-30T11:00:00Z"},
		{"@every 1h", "2026-11-30T10:00:00Z", "2026-11-30T10:00:00Z", "2026-11-30T11:00:00Z"},
		{" @every 90m ", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T01:30:00Z"},
		{"@every 90m", "1969-12-31T23:59:00Z", "1969-12-31T22:30:00Z", "1970-01-01T00:00:00Z"},
	} {
		s, err := ParseSchedule(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		now := at(c.now)
		if got := s.Next(now); !got.Equal(at(c.next)) || got.Location() != time.UTC {
			t.Errorf("%q after %s: %v, want %s", c.text, c.now, got, c.next)
		}
		if got := s.Last(now); !got.Equal(at(c.last)) {
			t.Errorf("%q until %s: %v, want %s", c.text, c.now, got, c.last)
		}
		text, _ := s.MarshalText()
		var back Schedule
		if err := back.UnmarshalText(text); err != nil || !back.Next(now).Equal(s.Next(now)) {
			t.Errorf("%q comes back as %q, %v", c.text, back, err)
		}
	}
	for _, bad := range []string{
		"", "daily", "* * * *", "* * * * * *", "60 * * * *", "0 0 30 2 *", "TZ=UTC", "CRON_TZ=Europe/Berlin 0 3 * * *", "TZ= 0 3 * * *",
		"@every", "@every 1s", "@every -1h", "@every x", "@every 90.5s", "@every 100000h", "@reboot", "*/0 * * * *", "5-1 * * * *", "@every 1h30m0.5s",
	} {
		if _, err := ParseSchedule(bad); !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "schedule" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if n := (Schedule{}).Next(at("2026-11-30T00:00:00Z")); !n.IsZero() {
		t.Errorf("the zero value: %v", n)
	}
}

func TestDue(t *testing.T) {
	s, err := ParseSchedule("0 3 * * *")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		done, now string
		due       string // "" for not
	}{
		{"2026-11-30T03:00:00Z", "2026-12-01T02:59:59Z", ""},
		{"2026-11-30T03:00:00Z", "2026-12-01T03:00:00Z", "2026-12-01T03:00:00Z"},
		{"2026-11-20T03:00:00Z", "2026-12-01T05:00:00Z", "2026-12-01T03:00:00Z"}, // missed ones are one
		{"2026-11-30T12:34:56Z", "2026-11-30T13:00:00Z", ""},                     // made at noon
		{"2026-12-02T03:00:00Z", "2026-12-01T05:00:00Z", ""},                     // a clock went back
	} {
		got, due := s.Due(at(c.done), at(c.now))
		if due != (c.due != "") || due && !got.Equal(at(c.due)) {
			t.Errorf("%+v: %v, %v", c, got, due)
		}
	}
	if _, due := s.Due(time.Time{}, at("2026-12-01T05:00:00Z")); due {
		t.Error("due although nobody knows since when")
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, s := range []string{"0 3 * * *", "@every 1h", "TZ=", "@daily", "*/5 1-2,3 ? jan mon"} {
		f.Add(s, int64(1_790_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		s, err := ParseSchedule(text)
		if err != nil || unix < 0 || unix > 4e9 {
			return
		}
		now := time.Unix(unix, 0)
		next, last := s.Next(now), s.Last(now)
		if !next.IsZero() && !next.After(now) || last.After(now) {
			t.Errorf("%q at %v: %v and %v", text, now, last, next)
		}
		if !last.IsZero() && !next.IsZero() && !s.Next(last).Equal(next) {
			t.Errorf("%q at %v: after %v comes %v, not %v", text, now, last, s.Next(last), next)
		}
	})
}
