package commands

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/schedule"
)

func newRestart(d *Deps) *cobra.Command {
	var now, noWait bool
	cmd := &cobra.Command{
		Use:   "restart JOB",
		Short: "Do the restarts that a job left",
		Long: `Restart what a job left running with the old password: because it was told
--no-restart, because the account's policy is never, or because its restart
window was shut. No password is sent to the machines for it.

What was stopped meanwhile stays stopped, and what somebody restarted meanwhile
is not restarted again. In the shell it returns to the prompt, like rotate.`,
		Example: "  keyturn pam action restart JOB\n  keyturn pam action restart JOB --now",
		Args:    positional("JOB"), Annotations: notes(annotNeeds, needVault+" "+needExecutor),
	}
	cmd.Flags().BoolVar(&now, "now", false, "do not wait for the account's restart window")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the job's end")
	cmd.ValidArgsFunction = first(d.jobs(func(j pam.Job) bool { return j.Committed && j.State.Terminal() && j.SupersededBy == "" }))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		errand := pam.ErrandRestart
		if now {
			errand = pam.ErrandRestartNow
		}
		return c.takeUp(ctx, errand, noWait, func(j pam.Job) error { return c.restartable(ctx, j, errand) })
	})
}

func newRetry(d *Deps) *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "retry JOB",
		Short: "Try again what failed in a job",
		Long: `Try again what failed in a partial job, on the machines where it failed and
nowhere else, with the same new password. In the shell it returns to the prompt,
like rotate.`,
		Example: "  keyturn pam action retry JOB",
		Args:    positional("JOB"), Annotations: notes(annotNeeds, needVault+" "+needExecutor),
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the job's end")
	cmd.ValidArgsFunction = first(d.jobs(func(j pam.Job) bool { return j.State == pam.JobPartial && j.SupersededBy == "" }))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		return c.takeUp(ctx, pam.ErrandRetry, noWait, retryable)
	})
}

// takeUp runs a job that has ended for an errand that check allows.
func (c *call) takeUp(ctx context.Context, e pam.Errand, noWait bool, check func(pam.Job) error) (output.View, error) {
	j, err := c.findJob(ctx, c.args[0])
	if err != nil {
		return output.View{}, err
	}
	if !j.State.Terminal() {
		return output.View{}, pam.Errorf(pam.ErrConflict, "job %s is %s; nothing changed", j.ID, j.State).
			WithHint("%s", nextFor(j))
	}
	if j.SupersededBy == "" { // else the vault refuses it, and says why
		if err := check(j); err != nil {
			return output.View{}, err
		}
	}
	if j, err = c.vault.TakeUp(ctx, j.ID, e); err != nil {
		return output.View{}, err
	}
	return c.carryOut(ctx, j, noWait)
}

// nextFor is the command for a job that is not at its end.
func nextFor(j pam.Job) string {
	if j.State == pam.JobOpen {
		return "keyturn pam action resume " + string(j.ID)
	}
	return "keyturn pam action job-info " + string(j.ID) + " --wait"
}

// unchanged is why nothing of a job can be taken up that changed nothing.
func unchanged(j pam.Job) error {
	return pam.Errorf(pam.ErrConflict, "job %s has not changed the password (%s): there is nothing left of it", j.ID, j.State).
		WithHint("keyturn pam action rotate -r %s", j.User)
}

func (c *call) restartable(ctx context.Context, j pam.Job, e pam.Errand) error {
	if !j.Committed {
		return unchanged(j)
	}
	if !slices.ContainsFunc(j.Items, func(i pam.Item) bool { return i.Left != nil }) {
		err := pam.Errorf(pam.ErrConflict, "job %s left no restart; nothing changed", j.ID)
		if j.State == pam.JobPartial {
			return err.WithHint("keyturn pam action resume %s does the rest of it", j.ID)
		}
		return err
	}
	if e == pam.ErrandRestartNow {
		return nil
	}
	s, _, err := c.vault.Rotation(ctx, j.User)
	if err != nil {
		return err
	}
	return shut(s.Policy.With(j.Options.Policy), j, c.Now())
}

// shut refuses restarts outside the window of a policy.
func shut(p pam.Policy, j pam.Job, now time.Time) error {
	if p.Restart != pam.RestartWindow || j.Options.NoRestart {
		return nil
	}
	w, err := schedule.ParseWindow(p.Window)
	if err != nil || w.Open(now) {
		return err
	}
	return pam.Errorf(pam.ErrConflict, "the restart window %s is shut until %s; nothing changed", w, w.Next(now).Format(time.RFC3339)).
		WithHint("keyturn pam action restart %s --now does not wait for it", j.ID)
}

func retryable(j pam.Job) error {
	switch {
	case !j.Committed:
		return unchanged(j)
	case j.State != pam.JobPartial:
		return pam.Errorf(pam.ErrConflict, "job %s is at its end: %s; there is nothing to retry", j.ID, j.State)
	case !slices.ContainsFunc(j.Items, func(i pam.Item) bool { return !i.Status.Done() && i.Status != pam.StatusDeferred }):
		return pam.Errorf(pam.ErrConflict, "nothing failed in job %s: its restarts wait for their window", j.ID).
			WithHint("keyturn pam action restart %s", j.ID)
	}
	return nil
}
