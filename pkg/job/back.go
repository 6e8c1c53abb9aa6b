package job

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"keyturn/pkg/pam"
)

// goesBack checks that there is a password to go back to, and tells of it. A job
// that has staged it has nothing to ask any more.
func (r *run) goesBack(ctx context.Context) error {
	if r.job.Options.To == "" || r.job.Generation != 0 {
		return nil
	}
	g, err := r.previous(ctx)
	if err != nil {
		return err
	}
	r.length = utf8.RuneCount(g.Password.Reveal())
	r.plan.Notes = append(r.plan.Notes, fmt.Sprintf("%s is given its previous password again: generation %d, of %s",
		r.account.Name, g.Number, g.Created.UTC().Format("2006-01-02 15:04 UTC")))
	return nil
}

// previous is the password that was in force before the current one.
func (r *run) previous(ctx context.Context) (pam.Generation, error) {
	if r.job.Options.To != pam.Previous {
		return pam.Generation{}, pam.Errorf(pam.ErrInternal, "a job does not go to the %q password; nothing changed", r.job.Options.To)
	}
	_, err := r.cfg.Store.Generation(ctx, r.account.UID, pam.Pending)
	switch {
	case err == nil: // it would be used in place of ours
		return pam.Generation{}, pam.Errorf(pam.ErrConflict, "another password of %s is under way, and may be in force: there is no "+
			"going back before it is known; nothing changed", r.account.Name).WithHint("keyturn pam action rotate -r %s", r.job.User)
	case !errors.Is(err, pam.ErrNotFound):
		return pam.Generation{}, err
	}
	g, err := r.cfg.Store.Generation(ctx, r.account.UID, pam.Previous)
	if errors.Is(err, pam.ErrNotFound) {
		return g, pam.Errorf(pam.ErrInvalidInput, "the vault knows no password of %s from before the current one; nothing changed",
			r.account.Name).WithHint("keyturn record-history list %s", r.job.User)
	}
	return g, err
}

// onlySetTells reports whether a logon says nothing of a lost answer: a domain
// lets a password that was replaced log on for a while, and this one was in force
// before. Setting it again is what settles it then: a reset does not ask for the
// old one, and done twice is done once.
func (r *run) onlySetTells() bool {
	id := r.authority.findings.Identity
	return r.job.Options.To == pam.Previous && id.SID != "" && id.Alias == id.SID
}

func (r *run) notTold(cause error) error {
	return pam.Errorf(pam.ErrUnknownOutcome,
		"whether %s has its previous password again is not known: %w; both are kept, and resume sets it again", r.account.Name, cause)
}
