package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/discover"
	"keyturn/pkg/pam"
)

func newDiscoverProcess(d *Deps) *cobra.Command {
	var job string
	var addAll, preview bool
	cmd := &cobra.Command{
		Use:     "process",
		Aliases: []string{"p"},
		Short:   "Process discovered items",
		Long: `Make the proposals of a discovery mappings: asked one by one on a terminal, or
all of them with --add-all. They are compared with the mappings as they are now;
what is mapped already is not proposed again. No machine is asked or changed.`,
		Example: `  keyturn pam action discover process -j JOB --preview
  keyturn pam action discover process -j JOB --add-all`,
		Args: positional(), Annotations: notes(annotNeeds, needVault, annotRequired, "job-id"),
	}
	f := cmd.Flags()
	f.StringVarP(&job, "job-id", "j", "", "the discovery `JOB`")
	f.BoolVar(&addAll, "add-all", false, "make all proposals mappings without asking")
	f.BoolVar(&preview, "preview", false, "show what would be mapped and change nothing")
	completeFlag(cmd, "job-id", d.discoveries())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		r, err := c.findDiscovery(ctx, job)
		if err != nil {
			return output.View{}, err
		}
		switch {
		case r.discovery.State == pam.JobRunning:
			return output.View{}, pam.Errorf(pam.ErrConflict, "discovery job %s has not ended; nothing changed", job).
				WithHint("if its process is gone: keyturn pam action discover remove -j %s", job)
		case preview:
			return r.view(), nil
		}
		chosen, err := c.choose(ctx, r, addAll)
		if err != nil {
			return output.View{}, err
		}
		return c.process(ctx, r, chosen)
	})
}

// choose asks which proposals become mappings, and about none of them before
// anything changes.
//
//nolint:revive // all is the flag of the command line
func (c *call) choose(ctx context.Context, r report, all bool) ([]discover.Proposal, error) {
	if all {
		return r.proposals, nil
	}
	var chosen []discover.Proposal
	for _, p := range r.proposals {
		question := "Map " + headTitle(r.heads, p.User) + " to " + p.Title + " : " + p.Kinds.Label() + " (" + kindWords(p.Items) + ")?"
		answer, err := c.ReadLine(ctx, question+" [y/n]: ")
		if isNoTerminal(err) {
			return nil, usagef("%s There is no terminal to ask on; nothing was changed", question).
				WithHint("--add-all answers yes to all, --preview shows them")
		}
		if err != nil {
			return nil, err
		}
		if a := strings.ToLower(strings.TrimSpace(answer)); a == "y" || a == "yes" {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// process makes proposals mappings.
func (c *call) process(ctx context.Context, r report, chosen []discover.Proposal) (output.View, error) {
	if err := c.applyProposals(ctx, r, chosen); err != nil {
		return output.View{}, err
	}
	text := "Success: " + count(chosen) + " of " + count(r.proposals) + " proposed mappings added."
	added := r
	added.proposals = chosen
	v := output.View{Before: []string{text}, Document: map[string]any{
		"message": text, "job_id": r.discovery.ID, "added": added.document().Proposals, "proposed": len(r.proposals),
	}}
	if t := added.proposalTable(); len(t.Rows) > 0 {
		t.Title = ""
		v.Before, v.Tables = append(v.Before, ""), []output.Table{t}
	}
	v.CSV = added.csv()
	return v, nil
}

// applyProposals adds to what is mapped now, and notes that the discovery was
// processed.
func (c *call) applyProposals(ctx context.Context, r report, chosen []discover.Proposal) error {
	all, err := c.vault.AllMappings(ctx)
	if err != nil {
		return err
	}
	for _, p := range chosen {
		present := mappingOf(all, pair{user: r.heads[p.User], machine: r.heads[p.Machine]})
		if err := c.vault.SetMapping(ctx, pam.Mapping{User: p.User, Machine: p.Machine, Kinds: present | p.Kinds}); err != nil {
			return err
		}
	}
	r.discovery.Processed = c.Now()
	_, err = c.vault.SaveDiscovery(ctx, r.discovery)
	return err
}
