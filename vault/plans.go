package vault

import (
	"context"

	"keyturn/pkg/pam"
)

// notRun is ErrConflict when a job of the account ran the plan with that hash
// already: what somebody approved was one rotation. A job that staged no password,
// or whose password was refused, changed nothing and leaves its plan for another.
func (t *txn) notRun(ctx context.Context, account pam.UID, plan string) error {
	if plan == "" {
		return nil
	}
	jobs, err := all[jobRow](ctx, t, groupJob, account)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Options.PlanHash == plan && j.Generation != 0 && j.Outcome != pam.OutcomeRefused {
			return pam.Errorf(pam.ErrConflict, "the plan was run already, by job %s; nothing changed", j.ID).
				WithHint("a plan is run once: keyturn pam action rotate -r %s --plan-out FILE writes another", j.User)
		}
	}
	return nil
}
