package vault

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// CountCurrent returns how many current generations an account has, -1 when
// that cannot be read.
func CountCurrent(ctx context.Context, v *Vault, account pam.UID) int {
	n := 0
	err := v.view(ctx, func(t *txn) error {
		history, err := t.history(ctx, account)
		for _, g := range history {
			if g.Status == pam.Current {
				n++
			}
		}
		return err
	})
	if err != nil {
		return -1
	}
	return n
}

// Passwords returns an account's passwords by generation.
func Passwords(ctx context.Context, v *Vault, account pam.UID) []string {
	var passwords []string
	_ = v.view(ctx, func(t *txn) error {
		history, err := t.history(ctx, account)
		for _, g := range history {
			passwords = append(passwords, string(g.Password.Reveal()))
		}
		return err
	})
	return passwords
}

// An AuditForgery is what somebody with the vault's key would change.
type AuditForgery = AuditEntry

// ForgeAudit seals a changed entry in the place of the true one.
func ForgeAudit(ctx context.Context, v *Vault, n int64, edit func(*AuditForgery)) error {
	return v.update(ctx, "forge", func(t *txn) error {
		k := key{group: groupAudit, id: number(n)}
		r, _, err := load[auditRow](ctx, t, k)
		if err != nil {
			return err
		}
		var e AuditEntry
		if err := json.Unmarshal(r.Entry, &e); err != nil {
			return err
		}
		edit(&e)
		if r.Entry, err = json.Marshal(e); err != nil {
			return err
		}
		return t.put(ctx, k, r)
	})
}

// Catalogued reports whether the vault has a catalogue.
func Catalogued(ctx context.Context, v *Vault) bool {
	return v.view(ctx, func(t *txn) error {
		if !t.catalogued() {
			return errFrame
		}
		return nil
	}) == nil
}

// Query reads one value from the database, as it is there.
func Query(ctx context.Context, v *Vault, query string, into any) error {
	return v.reader.QueryRowContext(ctx, query).Scan(into)
}

// Unclean reports whether pages of a former key may be in the vault's files.
func Unclean(v *Vault) bool { return v.unclean.Load() }

// CutRekey replaces the vault's key up to some instant, as a process does that
// dies there, and closes the vault.
func CutRekey(ctx context.Context, v *Vault, with secret.Value, at string) error {
	return CutRekeyOf(ctx, v, at, func(r *Rekeying) error {
		_, err := r.Offer(with)
		return err
	})
}

// CutRekeyOf is CutRekey with whatever offer keeps.
func CutRekeyOf(ctx context.Context, v *Vault, at string, offer func(*Rekeying) error) error {
	r, err := v.BeginRekey(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := offer(r); err != nil {
		return err
	}
	h, err := r.header()
	if err != nil {
		return err
	}
	next, err := v.successor(h, r.key)
	if err != nil {
		return err
	}
	defer next.forget()
	if err := v.announce(h, r.key); err != nil {
		return err
	}
	switch at {
	case "torn":
		err = os.Truncate(filepath.Join(v.dir, nextHeader), 100)
	case "sealed", "named":
		_, err = v.reseal(ctx, next, "")
	}
	if err == nil && at == "named" {
		err = next.settle(ctx)
	}
	return errors.Join(err, v.Close())
}

// ForgeAudit changes an entry and makes the trail anew, as who has the vault's key can.
func (v *Vault) ForgeAudit(ctx context.Context, number int64, detail string) error {
	return v.update(ctx, "forge", func(t *txn) error {
		rows, err := all[auditRow](ctx, t, groupAudit, every)
		if err != nil {
			return err
		}
		t.meta.auditKey.Destroy()
		t.meta.auditKey, t.meta.AuditCount, t.meta.AuditHead = t.meta.auditRoot.Clone(), 0, nil
		for _, r := range rows {
			var e AuditEntry
			if err := json.Unmarshal(r.Entry, &e); err != nil {
				return err
			}
			if e.Number == number {
				e.Detail = detail
			}
			if err := t.chain(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}
