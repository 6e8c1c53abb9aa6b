package commands

import (
	"context"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/discover"
	"keyturn/pkg/pam"
)

func newGatewayInfo(d *Deps) *cobra.Command {
	o := scopeOptions{directories: true}
	var verbose bool
	var accept []string
	cmd := &cobra.Command{
		Use:     "gateway-info",
		Aliases: []string{"i"},
		Short:   "Info command",
		Long: `Test each machine and directory of the gateway: is it reached and trusted, does
its admin log in, are the rights and the language mode there, which policies
limit a rotation, what is installed; of a directory, which domain it is and
where its PDC emulator is. Every machine costs one log-in; an admin that is
refused once is not tried again. For what is wrong, the command that helps is
shown.

A new machine is not trusted: what it shows stands below the table, one line a
machine. Compare each with the machine's own, keep those that are right, and
name them: --accept MACHINE=FINGERPRINT, or a file of such lines, --accept
@FILE. Only what was named is accepted, and only from a machine that shows just
that.

Nothing is changed on any machine. The exit code is 5 when a machine cannot be
worked with; warnings leave it at 0.`,
		Example: `  keyturn pam action gateway-info -g Embedded
  keyturn pam action gateway-info -g Embedded -m SRV1 --format json
  keyturn pam action gateway-info -g Embedded --accept @compared.txt`,
		Args: positional(), Annotations: notes(annotNeeds, needVault+" "+needExecutor),
	}
	o.add(d, cmd, "machine-uid")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show checks that passed too")
	cmd.Flags().StringArrayVar(&accept, "accept", nil,
		"trust what a machine shows if it is this: `MACHINE=FINGERPRINT`, or @FILE with one a line; may be given again")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		doc, all, err := gatewayInfo(ctx, c, o, accept)
		if err != nil {
			return output.View{}, err
		}
		return healthView(doc, verbose), unhealthy(all, doc)
	})
}

// A gatewayDocument is a gateway with its machines' health, in JSON.
type gatewayDocument struct {
	UID      pam.UID          `json:"gateway_uid"`
	Name     string           `json:"gateway_name"`
	Version  string           `json:"gateway_version"`
	OS       string           `json:"os"`
	Machines []healthDocument `json:"machines"`
	// Accepted are the machines whose records --accept changed.
	Accepted []pam.UID `json:"accepted,omitempty"`
}

type healthDocument struct {
	UID     pam.UID              `json:"machine_uid"`
	Machine string               `json:"machine"`
	Address string               `json:"address,omitempty"`
	Status  discover.CheckStatus `json:"status"`
	Checks  []checkDocument      `json:"checks"`
	// Shown is what --accept takes, of a machine that is not trusted.
	Shown string `json:"shown,omitempty"`
}

type checkDocument struct {
	Check  discover.CheckName   `json:"check"`
	Status discover.CheckStatus `json:"status"`
	Detail string               `json:"detail,omitempty"`
	Fix    string               `json:"fix,omitempty"`
}

func gatewayInfo(ctx context.Context, c *call, o scopeOptions, accept []string) (gatewayDocument, []discover.Health, error) {
	doc := gatewayDocument{Version: c.Version, OS: runtime.GOOS, Machines: []healthDocument{}}
	s, err := c.scope(ctx, o)
	if err != nil {
		return doc, nil, err
	}
	if err := s.some("machine"); err != nil {
		return doc, nil, err
	}
	named, err := c.accepting(ctx, s, accept)
	if err != nil {
		return doc, nil, err
	}
	all, trusted, err := c.examined(ctx, s, named)
	if err != nil {
		return doc, nil, err
	}
	doc.Accepted = trusted
	doc.UID, doc.Name = s.gateway.UID, s.gateway.Name
	for i, h := range all {
		if h.Title == "" { // its record could not be read as a machine
			h.Title = s.machines[i].Title
		}
		doc.Machines = append(doc.Machines, documentOfHealth(h))
	}
	return doc, all, nil
}

// examined tests the machines of a scope, accepts what was named, and tests those
// that were accepted, which it returns too, again.
func (c *call) examined(ctx context.Context, s scope, named accepted) (all []discover.Health, trusted []pam.UID, err error) {
	told := func(h discover.Health) { c.newsf("%s: %s", h.Title, worst(h)) }
	all, err = c.Examine(ctx, s.uids(), told)
	if err != nil || len(named) == 0 {
		return all, nil, err
	}
	trusted, err = c.accept(ctx, all, named)
	if err != nil || len(trusted) == 0 {
		return all, trusted, err
	}
	again, err := c.Examine(ctx, trusted, told)
	if err != nil {
		return all, trusted, err
	}
	for _, h := range again {
		all[slices.Index(s.uids(), h.Machine)] = h
	}
	return all, trusted, nil
}

// worst is the status of a machine: that of its worst check.
func worst(h discover.Health) discover.CheckStatus {
	status := discover.CheckOK
	for _, c := range h.Checks {
		if c.Status == discover.CheckFailed {
			return c.Status
		}
		if c.Status == discover.CheckWarning {
			status = c.Status
		}
	}
	return status
}

func documentOfHealth(h discover.Health) healthDocument {
	d := healthDocument{UID: h.Machine, Machine: h.Title, Address: h.Address, Status: worst(h), Checks: []checkDocument{}}
	d.Shown = compared(h.Shown())
	for _, c := range h.Checks {
		d.Checks = append(d.Checks, checkDocument{c.Name, c.Status, c.Detail, c.Fix})
	}
	return d
}

// healthView shows each machine in one line, then what is wrong with the command
// that helps.
//
//nolint:revive // verbose is the flag of the command line
func healthView(doc gatewayDocument, verbose bool) output.View {
	v := output.View{
		Before: []string{
			"Gateway Details",
			"  Name              : " + doc.Name,
			"  UID               : " + string(doc.UID),
			"  Version           : " + doc.Version,
			"  Operating System  : " + doc.OS,
			"",
		},
		CSV:      &output.Table{Header: []string{"machine_uid", "machine", "address", "check", "status", "detail", "fix"}},
		Document: doc,
	}
	summary := output.Table{
		Title: "Machine Details", Header: []string{"Machine", "Address", "Status", "Failed or limited"},
		Prose: []string{"Failed or limited"},
	}
	checks := output.Table{Title: "Checks", Header: []string{"Machine", "Check", "Status", "Detail"}, Prose: []string{"Detail"}}
	fixes := []string{}
	for _, m := range doc.Machines {
		var wrong []string
		for _, ch := range m.Checks {
			v.CSV.Rows = append(v.CSV.Rows, []string{
				string(m.UID), m.Machine, m.Address, string(ch.Check), string(ch.Status), ch.Detail, ch.Fix,
			})
			bad := ch.Status == discover.CheckFailed || ch.Status == discover.CheckWarning
			if bad {
				wrong = append(wrong, checkLabel(ch.Check))
			}
			if bad || verbose {
				checks.Rows = append(checks.Rows, []string{m.Machine, checkLabel(ch.Check), statusLabel(ch.Status), ch.Detail})
			}
			if bad && ch.Fix != "" {
				fixes = append(fixes, m.Machine+", "+checkLabel(ch.Check)+": "+ch.Fix)
			}
		}
		summary.Rows = append(summary.Rows, []string{m.Machine, m.Address, string(m.Status), strings.Join(wrong, ", ")})
	}
	v.Tables = []output.Table{summary}
	if len(checks.Rows) > 0 {
		v.Tables = append(v.Tables, checks)
	}
	if len(fixes) > 0 {
		v.After = append([]string{"", "What helps", ""}, fixes...)
	}
	v.After = append(v.After, shownLines(doc)...)
	return v
}

// shownLines are what machines that are not trusted show, as --accept takes it.
func shownLines(doc gatewayDocument) []string {
	var lines []string
	for _, m := range doc.Machines {
		if m.Shown != "" {
			lines = append(lines, m.Machine+"="+m.Shown)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	before := []string{"", "Not trusted: compare each line with the machine's own; --accept takes those that are right", ""}
	return append(before, lines...)
}

func checkLabel(name discover.CheckName) string { return strings.ReplaceAll(string(name), "_", " ") }

func statusLabel(s discover.CheckStatus) string { return strings.ReplaceAll(string(s), "_", " ") }

// unhealthy is the failure of a gateway of which a machine cannot be worked
// with: it exits with 5 whatever the cause, for the machine is what fails.
func unhealthy(all []discover.Health, doc gatewayDocument) error {
	var names []string
	kind := pam.ErrAuthFailed
	for i, h := range all {
		if h.Failure == nil {
			continue
		}
		failed := slices.IndexFunc(h.Checks, func(c discover.Check) bool { return c.Status == discover.CheckFailed })
		names = append(names, doc.Machines[i].Machine+" ("+checkLabel(h.Checks[failed].Name)+")")
		if k := pam.KindOf(h.Failure); len(names) == 1 && k.Code() == pam.ErrUnreachable.Code() {
			kind = k
		}
	}
	if len(names) == 0 {
		return nil
	}
	changed := "nothing changed"
	if len(doc.Accepted) > 0 {
		changed = "what was accepted stays so, nothing else changed"
	}
	return pam.Errorf(kind, "%s of %d machines cannot be worked with: %s; %s",
		count(names), len(all), strings.Join(names, ", "), changed).
		WithHint("the result says for each what helps")
}
