package commands

import (
	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/schedule"
)

// policyFlags are the flags of a policy: standing ones with "rotation edit", for
// one job with "rotate".
type policyFlags struct {
	restart, window, skip, failures string
	cmd                             *cobra.Command
}

// policyNames are their names.
var policyNames = []string{"restart", "window", "skip-unreachable-max", "max-failures"}

func (p *policyFlags) add(cmd *cobra.Command) {
	p.cmd = cmd
	f := cmd.Flags()
	f.StringVar(&p.restart, "restart", "",
		"when to restart what was running: `RULE` is running (at once), never (leave it to \"pam action restart\") or window")
	f.StringVar(&p.window, "window", "", "restart only within `\"HH:MM-HH:MM ZONE\"`, as in \"22:00-04:00 Europe/Budapest\"")
	f.StringVar(&p.skip, "skip-unreachable-max", "", "go on while no more machines than `N or N%` do not answer")
	f.StringVar(&p.failures, "max-failures", "", "begin no further restart once more items than `N or N%` have failed")
	completeFlag(cmd, "restart", fixed(string(pam.RestartRunning), string(pam.RestartNever), string(pam.RestartWindow)))
}

// changed reports whether any of them was given.
func (p *policyFlags) changed() bool {
	for _, name := range policyNames {
		if p.cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// over returns the standing policy with what the flags say in its place; an
// empty value goes back to the shipped policy.
func (p *policyFlags) over(standing pam.Policy) (pam.Policy, error) {
	given := p.cmd.Flags().Changed
	var err error
	if given("restart") {
		standing.Restart = ""
		if p.restart != "" {
			if standing.Restart, err = pam.ParseRestartRule(p.restart); err != nil {
				return standing, err
			}
		}
	}
	if given("window") {
		if standing, err = p.overWindow(standing); err != nil {
			return standing, err
		}
	}
	if standing.Restart == pam.RestartWindow && standing.Window == "" {
		return standing, usagef(`--restart window needs a window`).WithHint(`--window "22:00-04:00 Europe/Budapest"`)
	}
	if given("skip-unreachable-max") {
		if standing.SkipUnreachable, err = limitOf("skip-unreachable-max", p.skip); err != nil {
			return standing, err
		}
	}
	if given("max-failures") {
		standing.MaxFailures, err = limitOf("max-failures", p.failures)
	}
	return standing, err
}

func (p *policyFlags) overWindow(standing pam.Policy) (pam.Policy, error) {
	standing.Window = ""
	if p.window != "" {
		w, err := schedule.ParseWindow(p.window)
		if err != nil {
			return standing, usagef("--window: %w", err).WithHint("%s", pam.HintOf(err))
		}
		standing.Window = w.String()
		if standing.Restart != pam.RestartWindow && p.cmd.Flags().Changed("restart") {
			return standing, usagef("--window goes with --restart window")
		}
		standing.Restart = pam.RestartWindow
	}
	return standing, nil
}

func limitOf(flag, value string) (pam.Limit, error) {
	if value == "" {
		return "", nil
	}
	l, err := pam.ParseLimit(value)
	if err != nil {
		return "", usagef("--%s: %w", flag, err)
	}
	return l, nil
}

// A policyDocument is a policy in JSON.
type policyDocument struct {
	Restart         pam.RestartRule `json:"restart"`
	Window          string          `json:"window,omitempty"`
	SkipUnreachable pam.Limit       `json:"skip_unreachable_max,omitempty"`
	MaxFailures     pam.Limit       `json:"max_failures,omitempty"`
}

func policyOf(p pam.Policy) policyDocument {
	d := policyDocument{p.Restart, p.Window, p.SkipUnreachable, p.MaxFailures}
	if d.Restart == "" {
		d.Restart = pam.RestartRunning
	}
	if d.Restart != pam.RestartWindow {
		d.Window = "" // it waits for the rule to come back
	}
	return d
}

// policyLines are a policy as people read it; none for the shipped one.
func policyLines(p pam.Policy) []string {
	var lines []string
	if p.Restart != "" {
		lines = append(lines, "Restarts: "+p.RestartText())
	}
	if p.SkipUnreachable != "" {
		lines = append(lines, "Unreachable Machines Skipped: at most "+string(p.SkipUnreachable))
	}
	if p.MaxFailures != "" {
		lines = append(lines, "Failures Before Restarts Are Held Back: "+string(p.MaxFailures))
	}
	return lines
}

// addPolicy shows a policy below a view.
func addPolicy(v *output.View, p pam.Policy) {
	if lines := policyLines(p); len(lines) > 0 {
		v.After = append(append(v.After, ""), lines...)
	}
}
