package schedule

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
)

func TestWindowsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text string }{
		{"no zone: it would mean another time elsewhere", "22:00-04:00"},
		{"the zone of whoever asks", "22:00-04:00 Local"},
		{"an unknown zone", "22:00-04:00 Europe/Atlantis"},
		{"a zone that climbs out of its folder", "22:00-04:00 ../../etc/passwd"},
		{"no end", "22:00 UTC"},
		{"an hour that no day has", "22:00-25:00 UTC"},
		{"minutes that no hour has", "22:60-23:00 UTC"},
		{"one digit", "9:00-17:00 UTC"},
		{"empty", "04:00-04:00 UTC"},
		{"the whole day said twice", "00:00-24:00 UTC"},
		{"nothing", ""},
		{"words", "at night UTC"},
	} {
		if w, err := ParseWindow(c.text); !errors.Is(err, pam.ErrUsage) {
			t.Errorf("%s: %q is %v, %v", c.name, c.text, w, err)
		}
	}
}

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWhenAWindowIsOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, window, at, next string }{
		{"inside", "08:00-10:00 UTC", "2026-11-25T09:59:59Z", "2026-11-25T09:59:59Z"},
		{"its last minute is not in it", "08:00-10:00 UTC", "2026-11-25T10:00:00Z", "2026-11-26T08:00:00Z"},
		{"before it", "08:00-10:00 UTC", "2026-11-25T07:59:30Z", "2026-11-25T08:00:00Z"},
		{"past midnight, before", "22:00-04:00 Europe/Budapest", "2026-11-25T20:59:00Z", "2026-11-25T21:00:00Z"},
		{"past midnight, after", "22:00-04:00 Europe/Budapest", "2026-11-26T02:59:00Z", "2026-11-26T02:59:00Z"},
		{"past midnight, closed", "22:00-04:00 Europe/Budapest", "2026-11-26T03:00:00Z", "2026-11-26T21:00:00Z"},
		{"until midnight", "22:00-24:00 UTC", "2026-11-25T23:59:00Z", "2026-11-25T23:59:00Z"},
		{"the same window is an hour earlier in summer", "22:00-04:00 Europe/Budapest", "2026-07-01T19:00:00Z", "2026-07-01T20:00:00Z"},
		// 2026-03-29 01:00Z: clocks in Budapest go from 02:00 to 03:00.
		{"clocks go forward over its beginning", "02:30-05:00 Europe/Budapest", "2026-03-29T00:59:00Z", "2026-03-29T01:00:00Z"},
		{"clocks go forward over all of it", "02:10-02:50 Europe/Budapest", "2026-03-28T12:00:00Z", "2026-03-30T00:10:00Z"},
		// 2026-10-25 01:00Z: clocks in Budapest go from 03:00 back to 02:00.
		{"clocks go back: it is open the first time", "02:10-02:50 Europe/Budapest", "2026-10-25T00:15:00Z", "2026-10-25T00:15:00Z"},
		{"and a second time", "02:10-02:50 Europe/Budapest", "2026-10-25T00:55:00Z", "2026-10-25T01:10:00Z"},
		{"half an hour off", "09:00-10:00 Asia/Kolkata", "2026-11-25T03:00:00Z", "2026-11-25T03:30:00Z"},
	} {
		w, err := ParseWindow(c.window)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := w.Next(at(t, c.at)); !got.Equal(at(t, c.next)) {
			t.Errorf("%s: %s at %s opens %s, want %s", c.name, c.window, c.at, got.UTC(), c.next)
		}
	}
}

func TestAWindowOpensWhenItSaysItDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		minute := rapid.IntRange(0, 24*60-1)
		zones := []string{"UTC", "Europe/Budapest", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia"}
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		w := Window{from: minute.Draw(t, "from"), to: minute.Draw(t, "to"), zone: zone}
		if w.from == w.to {
			t.Skip()
		}
		again, err := ParseWindow(w.String())
		if err != nil || again.String() != w.String() {
			t.Fatalf("%s: %v", w, err)
		}
		from := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "t"), 0)
		next := w.Next(from)
		if !w.Open(next) || next.Before(from) {
			t.Fatalf("%s opens at %s after %s", w, next, from)
		}
		if !next.Equal(from) && w.Open(next.Add(-time.Minute)) {
			t.Fatalf("%s was open a minute before %s", w, next)
		}
	})
}

func FuzzParseWindow(f *testing.F) {
	f.Add("22:00-04:00 Europe/Budapest")
	f.Add("00:00-24:00 UTC")
	f.Fuzz(func(t *testing.T, s string) {
		w, err := ParseWindow(s)
		if err != nil {
			return
		}
		if again, err := ParseWindow(w.String()); err != nil || again.from != w.from || again.to != w.to {
			t.Errorf("%q is %s, which is %v", s, w, err)
		}
	})
}
