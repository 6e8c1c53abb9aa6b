package pam

import (
	"errors"
	"testing"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		total int
		want  int
		valid bool
	}{
		{"3", 100, 3, true},
		{"0", 100, 0, true},
		{"5%", 120, 6, true},
		{"5%", 12, 0, true}, // a share is rounded down: less is safer
		{"100%", 7, 7, true},
		{"101%", 0, 0, false},
		{"-1", 0, 0, false},
		{"+1", 0, 0, false},
		{"", 0, 0, false},
		{"%", 0, 0, false},
		{"1.5", 0, 0, false},
		{"99999999999", 0, 0, false},
	} {
		l, err := ParseLimit(c.text)
		if (err == nil) != c.valid || (err != nil && !errors.Is(err, ErrUsage)) {
			t.Errorf("%q: %v", c.text, err)
		}
		if n, ok := l.Of(c.total); n != c.want || ok != c.valid {
			t.Errorf("%q of %d: %d, %v", c.text, c.total, n, ok)
		}
	}
}

func TestTheCommandLineOverridesThePolicy(t *testing.T) {
	t.Parallel()
	standing := Policy{Restart: RestartWindow, Window: "22:00-04:00 UTC", SkipUnreachable: "5%", MaxFailures: "1"}
	for _, c := range []struct {
		name     string
		override Policy
		want     Policy
	}{
		{"nothing said", Policy{}, standing},
		{
			"another rule leaves the window for later jobs",
			Policy{Restart: RestartRunning},
			Policy{Restart: RestartRunning, Window: standing.Window, SkipUnreachable: "5%", MaxFailures: "1"},
		},
		{
			"another window",
			Policy{Restart: RestartWindow, Window: "01:00-02:00 UTC"},
			Policy{Restart: RestartWindow, Window: "01:00-02:00 UTC", SkipUnreachable: "5%", MaxFailures: "1"},
		},
		{
			"none may be skipped",
			Policy{SkipUnreachable: "0", MaxFailures: "50%"},
			Policy{Restart: RestartWindow, Window: standing.Window, SkipUnreachable: "0", MaxFailures: "50%"},
		},
	} {
		if got := standing.With(c.override); got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
