package vault

import (
	"context"
	"encoding/json"

	"keyturn/pkg/pam"
)

// A Check is what a check of a whole vault found sound.
type Check struct {
	Records      int   `json:"records"`
	Accounts     int   `json:"accounts"`
	Passwords    int   `json:"passwords"` // generations
	Jobs         int   `json:"jobs"`
	Rows         int   `json:"rows"` // of all kinds
	AuditEntries int64 `json:"audit_entries"`
	Generation   int64 `json:"generation"` // grows with every change
}

// Check reads everything: the pages of the database, every row, whether the
// manifest lists it, and the audit trail. The error is that of the first thing
// that is not as it was written: ErrDenied when it was changed outside of
// Keyturn, ErrIO when it is damaged. It costs as much as the vault is large.
func (v *Vault) Check(ctx context.Context) (Check, error) {
	var c Check
	if err := v.checkPages(ctx); err != nil {
		return c, err
	}
	err := v.view(ctx, func(t *txn) error {
		c.Generation, c.AuditEntries = t.meta.Generation, t.meta.AuditCount
		counts := map[group]*int{
			groupHead: &c.Records, groupAccount: &c.Accounts, groupCredential: &c.Passwords, groupJob: &c.Jobs,
		}
		for g := groupHead; g <= lastGroup; g++ {
			n, err := t.checkGroup(ctx, g)
			if err != nil {
				return err
			}
			c.Rows += n
			if count := counts[g]; count != nil {
				*count = n
			}
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	return c, v.VerifyAudit(ctx)
}

// checkPages asks SQLite whether its file is sound.
func (v *Vault) checkPages(ctx context.Context) error {
	const doing = "check the database"
	var found string
	if err := v.reader.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return dbError(ctx, doing, err)
	}
	if found != "ok" {
		return pam.Errorf(pam.ErrIO, "%s is damaged: %s", databaseFile, found).WithHint(hintDamaged)
	}
	return nil
}

// checkGroup opens every row of a group and returns how many there are.
func (t *txn) checkGroup(ctx context.Context, g group) (int, error) {
	n := 0
	err := t.each(ctx, g, every, func(int) {}, func(r row) error {
		var doc json.RawMessage
		secrets, err := t.open(r, &doc)
		destroy(secrets)
		n++
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
