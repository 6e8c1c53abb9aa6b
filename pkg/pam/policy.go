package pam

import (
	"math"
	"strconv"
	"strings"
)

// A RestartRule says when what runs with an old password is restarted.
type RestartRule string

// The rules.
const (
	RestartRunning RestartRule = "running" // as part of the job; the default
	RestartNever   RestartRule = "never"   // by "pam action restart" only
	RestartWindow  RestartRule = "window"  // within the policy's window only
)

// ParseRestartRule reads the value of --restart. The error is ErrUsage.
func ParseRestartRule(s string) (RestartRule, error) {
	switch r := RestartRule(strings.ToLower(s)); r {
	case RestartRunning, RestartNever, RestartWindow:
		return r, nil
	}
	return "", Errorf(ErrUsage, "unknown restart rule %q: it is running, never or window", s)
}

// A Policy is what stands for every job of an account; what the command line
// says overrides it for one job. Zero fields are the shipped policy.
type Policy struct {
	Restart RestartRule `json:"restart,omitempty"`
	// Window is when restarts are allowed, as pkg/schedule reads it. It counts
	// while Restart is RestartWindow.
	Window string `json:"window,omitempty"`
	// SkipUnreachable is how many machines a job may leave for later because they
	// do not answer.
	SkipUnreachable Limit `json:"skip_unreachable_max,omitempty"`
	// MaxFailures is how many items may fail before no further restart is begun.
	MaxFailures Limit `json:"max_failures,omitempty"`
}

// With returns p with what o says in its place. A rule brings its own window.
func (p Policy) With(o Policy) Policy {
	if o.Restart != "" {
		p.Restart = o.Restart
		if o.Restart == RestartWindow && o.Window != "" {
			p.Window = o.Window
		}
	}
	if o.SkipUnreachable != "" {
		p.SkipUnreachable = o.SkipUnreachable
	}
	if o.MaxFailures != "" {
		p.MaxFailures = o.MaxFailures
	}
	return p
}

// RestartText is the rule as people read it: "window 22:00-04:00 Europe/Budapest".
func (p Policy) RestartText() string {
	switch p.Restart {
	case "":
		return string(RestartRunning)
	case RestartWindow:
		return string(p.Restart) + " " + p.Window
	default:
		return string(p.Restart)
	}
}

// A Limit is a number, "3", or a share, "5%". "" is no limit given.
type Limit string

// ParseLimit reads the value of a flag: N or N%. The error is ErrUsage.
func ParseLimit(s string) (Limit, error) {
	number, share := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || number != strconv.Itoa(n) || (share && n > 100) || n > math.MaxInt32 {
		return "", Errorf(ErrUsage, "%q is neither a number nor a share from 0%% to 100%%", s)
	}
	return Limit(s), nil
}

// Of is the limit for total things, rounded down; ok is false without a limit.
func (l Limit) Of(total int) (n int, ok bool) {
	number, share := strings.CutSuffix(string(l), "%")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0, false
	}
	if share {
		n = total * n / 100
	}
	return n, true
}
