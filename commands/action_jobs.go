package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newJobInfo(d *Deps) *cobra.Command {
	var gateway string
	var wait bool
	cmd := &cobra.Command{
		Use:     "job-info JOB",
		Aliases: []string{"ji"},
		Short:   "View Job details",
		Long: `Show how a job stands, with one line for each machine and dependency. JOB is the
id that "rotate" printed; "job-list" shows them all.`,
		Example: "  keyturn pam action job-info JOB\n  keyturn pam action job-info JOB --wait --format json",
		Args:    positional("JOB"), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().StringVarP(&gateway, "gateway", "g", "", "the gateway the job works through: `UID` or name")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the job's end; the exit code is the job's")
	completeFlag(cmd, "gateway", d.gateways())
	cmd.ValidArgsFunction = first(d.jobs(anyJob))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if gateway != "" {
			if _, err := c.findGateway(ctx, gateway); err != nil {
				return output.View{}, err
			}
		}
		j, err := c.findJob(ctx, c.args[0])
		if err != nil {
			return output.View{}, err
		}
		if !wait {
			return jobView(j, c.Now()), nil
		}
		if j, err = c.watched(ctx, j); err != nil {
			return output.View{}, err
		}
		return c.endOf(j)
	})
}

func newJobList(d *Deps) *cobra.Command {
	var open bool
	cmd := &cobra.Command{
		Use:     "job-list",
		Aliases: []string{"jl"},
		Short:   "List all jobs",
		Long: `List all jobs, newest first. An open job has lost its process: resume ends it.
What is left of an open or partial job stands below the table; job-info tells
the whole of each, and JSON and CSV have every field.`,
		Example: "  keyturn pam action job-list\n  keyturn pam action job-list --open --format json",
		Args:    positional(), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVar(&open, "open", false, "only jobs that are not finished, failed or cancelled")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		jobs, err := c.vault.Jobs(ctx)
		if err != nil {
			return output.View{}, err
		}
		shown := []pam.Job{}
		for _, j := range jobs {
			if !open || resumable(j) {
				shown = append(shown, j)
			}
		}
		return jobListView(shown, c.Now()), nil
	})
}

// resumable reports whether a job is not at a good end.
func resumable(j pam.Job) bool {
	return !j.State.Terminal() || j.State == pam.JobPartial && !j.Abandoned && !j.Overtaken()
}

func newJobCancel(d *Deps) *cobra.Command {
	var gateway string
	var abandon bool
	cmd := &cobra.Command{
		Use:     "job-cancel JOB",
		Aliases: []string{"jc"},
		Short:   "Ask a job to stop",
		Long: `Ask a job to stop. It does until the password is changed, and then nothing is
changed; from then on it runs to its end, and this command fails with 7.

With --abandon it gives up what a partial job left: its machines keep the
passwords they have, and its records can be changed and removed again.`,
		Example: "  keyturn pam action job-cancel JOB\n  keyturn pam action job-cancel JOB --abandon",
		Args:    positional("JOB"), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().StringVarP(&gateway, "gateway", "g", "", "accepted for Commander's sake: `UID` or name")
	cmd.Flags().BoolVar(&abandon, "abandon", false, "give up what a partial job left")
	completeFlag(cmd, "gateway", d.gateways())
	cmd.ValidArgsFunction = first(d.jobs(resumable))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		j, err := c.findJob(ctx, c.args[0])
		switch {
		case err != nil:
			return output.View{}, err
		case abandon:
			return abandoned(ctx, c, j)
		case j.State == pam.JobPartial && resumable(j):
			return output.View{}, pam.Errorf(pam.ErrConflict, "job %s is partial: it does not run, and the password is changed", j.ID).
				WithHint("keyturn pam action resume %s does what is left; keyturn pam action job-cancel %s --abandon "+
					"gives it up", j.ID, j.ID)
		case j.State.Terminal():
			return output.View{}, pam.Errorf(pam.ErrConflict, "job %s is at its end: %s", j.ID, j.State)
		case changing(j):
			return output.View{}, pam.Errorf(pam.ErrConflict,
				"job %s cannot be stopped any more: %s", j.ID, standing(j)).
				WithHint("%s", jobHint(j))
		}
		return shownIf(c.vault.RequestCancel(ctx, j.ID),
			messageView("Job "+string(j.ID)+" was asked to stop.", map[string]any{"job_id": j.ID}))
	})
}

// abandoned gives up what a job left, and tells of what nobody starts again then.
func abandoned(ctx context.Context, c *call, j pam.Job) (output.View, error) {
	warnings := []string{}
	for _, i := range j.Items {
		if i.LeftStopped() {
			warnings = append(warnings, fmt.Sprintf("%s %s on %s may have been left stopped: no later job starts it",
				i.Kind.Label(), i.Name, i.MachineTitle))
		}
	}
	v := messageView("What job "+string(j.ID)+" left is given up.", map[string]any{"job_id": j.ID, "warnings": warnings})
	v.Warnings = warningLines(warnings)
	return shownIf(c.vault.Abandon(ctx, j.ID), v)
}

func newResume(d *Deps) *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "resume [JOB]",
		Short: "End an open or partial job",
		Long: `Take an open or partial job up where it stands: find out what is already done,
do the rest, with the same new password. Without JOB, the only such job. In the
shell it returns to the prompt, like rotate.`,
		Example: "  keyturn pam action resume\n  keyturn pam action resume JOB",
		Args:    atMostOne, Annotations: notes(annotNeeds, needVault+" "+needExecutor),
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the job's end")
	cmd.ValidArgsFunction = first(d.jobs(resumable))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		j, err := c.jobToResume(ctx)
		if err != nil {
			return output.View{}, err
		}
		if err := c.vault.Requeue(ctx, j.ID); err != nil {
			return output.View{}, err
		}
		return c.carryOut(ctx, j, noWait)
	})
}

// displaced reports whether a later job has what this one left to do.
func displaced(j pam.Job) bool { return j.State == pam.JobPartial && !j.Abandoned && j.Overtaken() }

// jobHint is what can be done with a job that is in the way.
func jobHint(j pam.Job) string {
	if j.State == pam.JobRunning || j.State == pam.JobQueued {
		return "keyturn pam action job-info " + string(j.ID) + " --wait"
	}
	return "keyturn pam action resume " + string(j.ID)
}

func (c *call) jobToResume(ctx context.Context) (pam.Job, error) {
	if len(c.args) > 0 {
		j, err := c.findJob(ctx, c.args[0])
		switch {
		case err != nil:
			return j, err
		case !resumable(j) && !displaced(j): // the vault refuses that, and says which job took its place
			return j, pam.Errorf(pam.ErrConflict, "job %s is at its end: %s; there is nothing to resume", j.ID, j.State)
		case j.State == pam.JobRunning:
			return j, pam.Errorf(pam.ErrConflict, "job %s is running", j.ID).
				WithHint("keyturn pam action job-info %s --wait", j.ID)
		}
		return j, nil
	}
	jobs, err := c.vault.Unsettled(ctx)
	if err != nil {
		return pam.Job{}, err
	}
	var open []pam.Job
	var ids []error
	for _, j := range jobs {
		if resumable(j) && j.State != pam.JobRunning {
			open = append(open, j)
			ids = append(ids, errors.New(string(j.ID)+" "+string(j.State)+" "+j.UserTitle))
		}
	}
	switch len(open) {
	case 0:
		return pam.Job{}, pam.Errorf(pam.ErrNotFound, "there is no open or partial job")
	case 1:
		return c.vault.Job(ctx, open[0].ID)
	}
	return pam.Job{}, pam.Errorf(pam.ErrAmbiguous, "several jobs can be resumed; name one:\n%s", errors.Join(ids...).Error())
}
