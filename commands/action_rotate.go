package commands

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type rotateOptions struct {
	record         string
	dryRun, noWait bool
	planOut, plan  string
	to             string // "", or the password to go back to
	job            pam.JobOptions
	policy         policyFlags
	given          func(flag string) bool
}

// planned are the flags that a plan brings along.
var planned = append([]string{
	"skip-unreachable", "allow-reset", "to", "unlock", "grant-rights", "no-restart", "settle", "max-concurrency", "plan-out",
}, policyNames...)

func newRotate(d *Deps) *cobra.Command {
	o := rotateOptions{}
	cmd := &cobra.Command{
		Use:     "rotate",
		Aliases: []string{"r"},
		Short:   "Rotate command",
		Long: `Rotate a user's password: look at its authority and at every mapped machine,
change the password, update everything that stores it, and restart what was
running. What was stopped stays stopped.

Until the password is changed an interrupt stops the job and nothing is changed;
from then on the job runs to its end, in a process of its own.

A command of its own waits for the job's end and exits with its code, unless
--no-wait is given. In the shell it returns to the prompt as soon as the job has
begun: the end is announced above the prompt, and job-info follows it.

With --to previous the password is not a new one but that from before the last
rotation. Nothing is undone: every machine is updated and restarted as always.

A dry run can be written to a file with --plan-out, read by whoever approves it,
and run with --plan: if a machine, a dependency, the account or what would be
done is not what the plan says any more, nothing is changed (exit code 7).`,
		Example: `  keyturn pam action rotate -r svc_app --dry-run
  keyturn pam action rotate -r svc_app
  keyturn pam action rotate -r svc_app --to previous
  keyturn pam action rotate -r svc_app --plan-out plan.json
  keyturn pam action rotate --plan plan.json
  keyturn pam action rotate -r svc_app --skip-unreachable --format json`,
		Args: positional(), Annotations: notes(annotNeeds, needVault+" "+needExecutor),
	}
	f := cmd.Flags()
	f.StringVarP(&o.record, "record-uid", "r", "", "the PAM User: `UID`, title or path")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "show what would be done and change nothing")
	f.StringVar(&o.planOut, "plan-out", "", "write the plan of a dry run to `FILE`, as JSON")
	f.StringVar(&o.plan, "plan", "", "run the plan in `FILE`, if reality is still as it says")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait for the job's end")
	f.BoolVar(&o.job.SkipUnreachable, "skip-unreachable", false, "rotate although a machine does not answer; resume brings it up to date")
	f.BoolVar(&o.job.AllowReset, "allow-reset", false,
		"set a local account's password although the old one is not known: its encrypted files and keys are lost")
	f.StringVar(&o.to, "to", "", "set the `previous` password again, in a job like any other")
	f.BoolVar(&o.job.Unlock, "unlock", false, "if the account is locked out, unlock it right before its password changes")
	f.BoolVar(&o.job.GrantRights, "grant-rights", false,
		"give the account the rights to log on as a service and as a batch job where it lacks them; a group policy may take them back")
	f.BoolVar(&o.job.NoRestart, "no-restart", false, "update stored passwords and restart nothing; \"pam action restart\" does it later")
	f.IntVar(&o.job.MaxConcurrency, "max-concurrency", 0, "work on at most `N` machines at once (default 256)")
	f.DurationVar(&o.job.Settle, "settle", 0, "how long a restarted service must keep running, a `duration` (default 5s)")
	o.policy.add(cmd)
	o.given = cmd.Flags().Changed
	completeFlag(cmd, "record-uid", d.records(pam.TypeUser))
	completeFlag(cmd, "to", fixed(string(pam.Previous)))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return rotate(ctx, c, o) })
}

// check reads the flags of a policy and refuses those that contradict others.
func (o *rotateOptions) check() error {
	if o.plan == "" && o.record == "" {
		return usagef("the following arguments are required: --record-uid/-r").
			WithHint("keyturn help pam action rotate")
	}
	if i := slices.IndexFunc(planned, o.given); o.plan != "" && i >= 0 {
		return usagef("argument --%s: not allowed with argument --plan, which brings its own", planned[i])
	}
	if o.given("to") && o.to != string(pam.Previous) {
		return usagef("argument --to: %q: a rotation goes back to the previous password, and to no other", o.to).
			WithHint("keyturn pam action rotate -r %s --to previous", Quote(o.record))
	}
	o.job.To = pam.GenerationStatus(o.to)
	return o.checkLimits()
}

func (o *rotateOptions) checkLimits() error {
	if o.job.Settle < 0 {
		return usagef("argument --settle: %s is below zero", o.job.Settle)
	}
	if o.given("max-concurrency") && o.job.MaxConcurrency < 1 {
		return usagef("argument --max-concurrency: at least one machine at once")
	}
	if o.job.NoRestart && (o.given("restart") || o.given("window")) {
		return usagef("argument --no-restart: not allowed with arguments --restart and --window")
	}
	return nil
}

// load finds the user, from the plan if there is one, which brings the options.
func (o *rotateOptions) load(ctx context.Context, c *call) (pam.Head, error) {
	if err := o.check(); err != nil {
		return pam.Head{}, err
	}
	if err := c.vacant("--plan-out", o.planOut); err != nil {
		return pam.Head{}, err
	}
	var approved planDocument
	var err error
	if o.plan != "" {
		if approved, err = c.planFile(ctx, o.plan); err != nil {
			return pam.Head{}, err
		}
		if o.record == "" {
			o.record = string(approved.UserUID)
		}
	}
	user, err := c.findTyped(ctx, o.record, pam.TypeUser, "Record ["+o.record+"] is not available.", "The user record is not a PAM User.")
	if err != nil {
		return user, err
	}
	if o.plan != "" && user.UID != approved.UserUID {
		return user, usagef("plan %s is for %s, not for %s; nothing changed",
			o.plan, titled(approved.User, approved.UserUID), titled(user.Title, user.UID))
	}
	if err := c.rotatable(ctx, user); err != nil {
		return user, err
	}
	if o.plan != "" {
		o.job = approved.options()
		return user, nil
	}
	o.job.Policy, err = c.policyFor(ctx, user, &o.policy)
	return user, err
}

// policyFor is what a command line says of a policy, for one job of a user.
func (c *call) policyFor(ctx context.Context, user pam.Head, flags *policyFlags) (pam.Policy, error) {
	if !flags.changed() {
		return pam.Policy{}, nil
	}
	s, _, err := c.vault.Rotation(ctx, user.UID)
	if err != nil {
		return pam.Policy{}, err
	}
	return flags.over(s.Policy)
}

func rotate(ctx context.Context, c *call, o rotateOptions) (output.View, error) {
	user, err := o.load(ctx, c)
	if err != nil {
		return output.View{}, err
	}
	if o.dryRun || o.planOut != "" {
		d, plan, err := c.planFor(ctx, user, o.job, o.planOut)
		if ctx.Err() != nil { // whatever it broke off
			return output.View{}, pam.Errorf(pam.ErrInterrupted, "interrupted; nothing changed")
		}
		if err != nil {
			return output.View{}, err
		}
		return planView(d, plan, o.planOut), nil
	}
	j, err := c.vault.CreateJob(ctx, user.UID, o.job)
	if err != nil {
		return output.View{}, err
	}
	return c.carryOut(ctx, j, o.noWait)
}

// rotatable checks what would make every job of the user fail.
func (c *call) rotatable(ctx context.Context, user pam.Head) error {
	s, ok, err := c.vault.Rotation(ctx, user.UID)
	if err != nil {
		return err
	}
	if !ok {
		return pam.Errorf(pam.ErrInvalidInput, "The user record does not have any rotation settings. Record: %s",
			titled(user.Title, user.UID)).
			WithHint("keyturn pam rotation edit -r %s -rs MACHINE --force", user.UID)
	}
	if !s.Enabled {
		return pam.Errorf(pam.ErrInvalidInput, "Rotation is disabled for record %s.", titled(user.Title, user.UID)).
			WithHint("keyturn pam rotation edit -r %s --enable --force", user.UID)
	}
	return nil
}

// carryOut starts the job's process, and in a one-shot command waits for it.
//
//nolint:revive // noWait is the flag of the command line
func (c *call) carryOut(ctx context.Context, j pam.Job, noWait bool) (output.View, error) {
	// The id comes first and at once: whatever happens next, it is how to ask. A
	// document has it too.
	if c.format == output.FormatTable {
		fmt.Fprintln(c.Out, "Scheduled action id: "+string(j.ID))
	}
	if noWait || c.Interactive {
		if _, err := c.StartJob(ctx, j); err != nil {
			return output.View{}, err
		}
		v := scheduledView(j)
		if !c.Interactive {
			v.Before = nil
		}
		return v, nil
	}
	j, err := c.runJob(ctx, j)
	if err != nil {
		return output.View{}, err
	}
	v, err := c.endOf(j)
	v.Before = append([]string{""}, v.Before[2:]...)
	return v, err
}

func scheduledView(j pam.Job) output.View {
	return output.View{
		Before: []string{fmt.Sprintf("The action has been scheduled, use command 'pam action job-info %s --gateway=%s' "+
			"to get status of the scheduled action", j.ID, j.Gateway)},
		CSV:      &output.Table{Header: []string{"job_id"}, Rows: [][]string{{string(j.ID)}}},
		Document: documentOf(j),
	}
}
