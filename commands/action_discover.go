package commands

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newDiscover(d *Deps) *cobra.Command {
	return group(&cobra.Command{
		Use: "discover", Aliases: []string{"d"}, Short: "Discover command",
	}, newDiscoverStart(d), newDiscoverStatus(d), newDiscoverRemove(d), newDiscoverProcess(d))
}

func newDiscoverStart(d *Deps) *cobra.Command {
	o := scopeOptions{}
	cmd := &cobra.Command{
		Use:     "start",
		Aliases: []string{"s"},
		Short:   "Start a discovery process",
		Long: `Look at one machine, the machines of a folder, or all of a configuration, and
find what runs there as whom: services, scheduled tasks and IIS pools. What runs
as the account of exactly one user is proposed as a mapping; "process" makes the
proposals mappings. Accounts are compared by their identity (SID), never by how
a name is spelled: what cannot be told is reported and left alone.

Nothing is changed, on no machine. What was found is kept in the vault.`,
		Example: `  keyturn pam action discover start -g Embedded
  keyturn pam action discover start -g Embedded -r SRV1 --format json
  keyturn pam action discover start -g Embedded -f /Prod`,
		Args: positional(), Annotations: notes(annotNeeds, needVault+" "+needExecutor),
	}
	o.add(d, cmd, "resource")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		r, err := c.discover(ctx, o)
		if r.discovery.ID == "" {
			return output.View{}, err
		}
		v := r.view()
		if len(r.proposals) > 0 {
			v.After = append(v.After, "", "To make the proposals mappings, use the following command.",
				"  keyturn pam action discover process -j "+string(r.discovery.ID))
		}
		return v, err
	})
}

// discover runs a discovery and reports it. A report without a discovery is
// none: nothing was looked at.
func (c *call) discover(ctx context.Context, o scopeOptions) (report, error) {
	s, err := c.scope(ctx, o)
	if err != nil {
		return report{}, err
	}
	if err := c.windowsOnly(ctx, &s, o); err != nil {
		return report{}, err
	}
	d := pam.Discovery{Gateway: s.gateway.UID, Scope: s.words}
	for _, cfg := range s.configs {
		d.Configurations = append(d.Configurations, cfg.UID)
	}
	d, err = c.Discover(ctx, d, s.uids(), func(f pam.Finding) {
		what := kindWords(f.Items)
		switch {
		case f.Failure != "":
			what = "could not be looked at (" + string(f.Failure) + ")"
		case what == "":
			what = "nothing runs with a password"
		}
		c.newsf("%s: %s", f.Title, what)
	})
	if d.ID == "" {
		return report{}, err
	}
	r, rerr := c.report(context.WithoutCancel(ctx), d.ID)
	if rerr != nil {
		return report{}, rerr
	}
	return r, discoverFailure(r, err)
}

// discoverFailure names the machines that could not be looked at; the first
// failure decides the exit code.
func discoverFailure(r report, err error) error {
	var failed []string
	for _, f := range r.findings {
		if f.Failure != "" {
			failed = append(failed, f.Title)
		}
	}
	if err == nil || len(failed) == 0 {
		return err
	}
	return pam.Errorf(pam.KindOf(err), "%s of %d machines could not be looked at: %s; nothing changed. %w",
		count(failed), r.discovery.Machines, strings.Join(failed, ", "), err).WithHint("%s", pam.HintOf(err))
}

func newDiscoverStatus(d *Deps) *cobra.Command {
	var o struct{ gateway, config, job string }
	var history bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Status of discovery jobs",
		Long: `List the discoveries whose proposals wait to be processed, newest first; with
--history all of them. With -j, show what one found and proposes now.`,
		Example: "  keyturn pam action discover status\n  keyturn pam action discover status -j JOB --format json",
		Args:    positional(), Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.StringVarP(&o.gateway, "gateway", "g", "", "of one gateway only: `UID` or name")
	f.StringVarP(&o.config, "configuration-uid", "c", "", "of one PAM configuration only: `UID` or title")
	f.StringVarP(&o.job, "job-id", "j", "", "one discovery `JOB`")
	f.BoolVar(&history, "history", false, "show those that were processed too")
	completeFlag(cmd, "gateway", d.gateways())
	completeFlag(cmd, "configuration-uid", d.configurations())
	completeFlag(cmd, "job-id", d.discoveries())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if o.job != "" {
			r, err := c.findDiscovery(ctx, o.job)
			if err != nil {
				return output.View{}, err
			}
			return r.view(), nil
		}
		of, err := c.discoveryFilter(ctx, o.gateway, o.config)
		if err != nil {
			return output.View{}, err
		}
		all, err := c.vault.Discoveries(ctx)
		if err != nil {
			return output.View{}, err
		}
		var shown []pam.Discovery
		for _, job := range all {
			if of(job) && (history || job.Processed.IsZero()) {
				shown = append(shown, job)
			}
		}
		return discoveriesView(shown), nil
	})
}

// discoveryFilter returns which discoveries belong to a gateway and a configuration.
func (c *call) discoveryFilter(ctx context.Context, gateway, config string) (func(pam.Discovery) bool, error) {
	var g pam.Gateway
	var cfg pam.Configuration
	var err error
	if gateway != "" {
		if g, err = c.findGateway(ctx, gateway); err != nil {
			return nil, err
		}
	}
	if config != "" {
		if cfg, err = c.findConfiguration(ctx, config); err != nil {
			return nil, err
		}
	}
	return func(d pam.Discovery) bool {
		return (g.UID == "" || d.Gateway == g.UID) && (cfg.UID == "" || slices.Contains(d.Configurations, cfg.UID))
	}, nil
}

// findDiscovery returns the report of a discovery by its id.
func (c *call) findDiscovery(ctx context.Context, id string) (report, error) {
	if !pam.IsUID(id) {
		return report{}, pam.Errorf(pam.ErrNotFound, "there is no discovery job %q", id).
			WithHint("keyturn pam action discover status --history")
	}
	return c.report(ctx, pam.UID(id))
}

func discoveriesView(all []pam.Discovery) output.View {
	t := output.Table{
		Header: []string{"Job ID", "Status", "Started", "Finished", "Machines", "Looked at", "Processed"},
		Prose:  []string{"Looked at"},
	}
	docs := []discoveryDocument{}
	waiting := []string{}
	for _, d := range all {
		s := summaryOf(d)
		docs = append(docs, s)
		t.Rows = append(t.Rows, []string{
			string(s.JobID), string(s.State), s.Started, s.Finished, generation(s.Count), s.Scope, s.Processed,
		})
		if (d.State == pam.JobFinished || d.State == pam.JobPartial) && d.Processed.IsZero() {
			waiting = append(waiting, string(d.ID))
		}
	}
	v := output.View{Document: map[string]any{"discoveries": docs}, CSV: &t}
	if len(all) == 0 {
		v.Before = []string{"There are no discovery jobs. To start one: keyturn pam action discover start"}
		return v
	}
	v.Tables = []output.Table{t}
	switch len(waiting) {
	case 0:
	case 1:
		v.After = []string{
			"", "There is one COMPLETED job. To process, use the following command.",
			"  keyturn pam action discover process -j " + waiting[0],
		}
	default:
		v.After = []string{
			"", "There are " + count(waiting) + " COMPLETED jobs. To process, use the following command.",
			"  keyturn pam action discover process -j JOB",
		}
	}
	return v
}

func newDiscoverRemove(d *Deps) *cobra.Command {
	var job string
	cmd := &cobra.Command{
		Use:     "remove",
		Aliases: []string{"r"},
		Short:   "Cancel or remove of discovery jobs",
		Long:    "Forget a discovery and what it found. Mappings that were made of its proposals\nstay.",
		Example: "  keyturn pam action discover remove -j JOB",
		Args:    positional(), Annotations: notes(annotNeeds, needVault, annotRequired, "job-id"),
	}
	cmd.Flags().StringVarP(&job, "job-id", "j", "", "the discovery `JOB`")
	completeFlag(cmd, "job-id", d.discoveries())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		r, err := c.findDiscovery(ctx, job)
		if err != nil {
			return output.View{}, err
		}
		err = c.vault.DeleteDiscovery(ctx, r.discovery.ID)
		return messageView("Removed discovery job "+job+"; its mappings stay.", map[string]any{"job_id": job}), err
	})
}
