// Package schedule reads when something is due or allowed: windows of the day,
// in a named time zone.
//
// It knows no clock: every instant arrives as an argument.
package schedule

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // Windows has no zone files; a window must mean the same everywhere

	"keyturn/pkg/pam"
)

// A Window is a part of every day, by the clocks of one time zone: from its
// first minute until before its last. It may pass midnight. Where clocks are
// put forward, what they leave out is not in it; where they are put back, what
// they show twice is in it twice.
type Window struct {
	from, to int // minutes since midnight
	zone     *time.Location
}

const form = "HH:MM-HH:MM ZONE, as in 22:00-04:00 Europe/Budapest"

// ParseWindow reads "22:00-04:00 Europe/Budapest". The error is ErrUsage.
func ParseWindow(s string) (Window, error) {
	fail := func(why string) (Window, error) {
		return Window{}, pam.Errorf(pam.ErrUsage, "the window %q %s", s, why).WithHint("a window is %s", form)
	}
	words := strings.Fields(s)
	if len(words) != 2 {
		return fail("is not a span of time and a time zone")
	}
	from, to, ok := strings.Cut(words[0], "-")
	if !ok {
		return fail("has no end")
	}
	var w Window
	if w.from, ok = minutes(from); !ok {
		return fail(fmt.Sprintf("begins at no time of the day (%q)", from))
	}
	if w.to, ok = minutes(to); !ok {
		return fail(fmt.Sprintf("ends at no time of the day (%q)", to))
	}
	if w.from == w.to {
		return fail("is empty")
	}
	if words[1] == "Local" { // what that is depends on who asks
		return fail("has no named time zone")
	}
	var err error
	if w.zone, err = time.LoadLocation(words[1]); err != nil {
		return fail(fmt.Sprintf("names a time zone that is not known (%q)", words[1]))
	}
	return w, nil
}

// minutes reads HH:MM; 24:00 is the end of the day, which is midnight.
func minutes(s string) (int, bool) {
	if s == "24:00" {
		return 0, true
	}
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, false
	}
	return t.Hour()*60 + t.Minute(), true
}

// Open reports whether t is in the window.
func (w Window) Open(t time.Time) bool {
	t = t.In(w.zone)
	m := t.Hour()*60 + t.Minute()
	if w.from < w.to {
		return w.from <= m && m < w.to
	}
	return m >= w.from || m < w.to
}

// Next returns t if the window is open then, else the minute in which it opens
// next, in the window's zone; the zero time when that is not within a year.
func (w Window) Next(t time.Time) time.Time {
	if w.Open(t) {
		return t.In(w.zone)
	}
	// Minute by minute: whatever clocks do, each minute is asked.
	t = t.Truncate(time.Minute)
	for range 366 * 24 * 60 {
		t = t.Add(time.Minute)
		if w.Open(t) {
			return t.In(w.zone)
		}
	}
	return time.Time{}
}

// String is the window as ParseWindow reads it.
func (w Window) String() string {
	return fmt.Sprintf("%02d:%02d-%02d:%02d %s", w.from/60, w.from%60, w.to/60, w.to%60, w.zone)
}
