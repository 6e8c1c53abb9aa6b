package vault

import (
	"context"
	"slices"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// A snapshot is a record as it once was. Unlike in the body of a live record,
// the password of a pamUser is among its secrets: by the time it is looked at,
// the account may have another.
type snapshot struct {
	Head pam.Head `json:"head"`
	Body body     `json:"body"`
}

func revisionKey(record pam.UID, revision int64) key {
	return ownedKey(groupRevision, record, number(revision))
}

// archive keeps a record as it is now, as one of its revisions, before somebody
// changes it. What is archived already, was written in this very transaction or
// is not there is left alone. It returns what the record is now; the zero head
// when it is not there.
func (t *txn) archive(ctx context.Context, uid pam.UID) (pam.Head, error) {
	r, account, found, err := t.whole(ctx, uid)
	if err != nil || !found {
		return pam.Head{}, err
	}
	defer r.Destroy()
	if r.Revision == t.next() {
		return r.Head, nil
	}
	k := revisionKey(uid, r.Revision)
	if _, kept, err := t.fetch(ctx, k); kept || err != nil {
		return r.Head, err
	}
	s, secrets := snapshotOf(r, account)
	return r.Head, t.put(ctx, k, s, secrets...)
}

// archiveUsers keeps all records that show the account's password, which is
// about to become another.
func (t *txn) archiveUsers(ctx context.Context, account pam.UID) error {
	users, err := t.users(ctx, account)
	for _, user := range users {
		if err == nil {
			_, err = t.archive(ctx, user)
		}
	}
	return err
}

// whole reads a record with the password of a pamUser, and its account.
func (t *txn) whole(ctx context.Context, uid pam.UID) (r pam.Record, account pam.UID, found bool, err error) {
	r, found, err = t.record(ctx, uid)
	if err != nil || !found || r.Type != pam.TypeUser {
		return r, "", found, err
	}
	if account, err = t.accountOf(ctx, uid); err != nil {
		return r, "", false, err
	}
	g, current, err := t.newest(ctx, account, pam.Current)
	if err == nil && current {
		fillPassword(&r, g.Password)
		r.Unverified = g.Unverified
	}
	return r, account, true, err
}

// mustWhole is whole of a record that has to be there.
func (t *txn) mustWhole(ctx context.Context, uid pam.UID) (pam.Record, pam.UID, error) {
	r, account, found, err := t.whole(ctx, uid)
	if err == nil && !found {
		err = t.errNoRecord(ctx, uid)
	}
	return r, account, err
}

// snapshotOf returns a record as a document and the secrets to seal with it.
func snapshotOf(r pam.Record, account pam.UID) (snapshot, []secret.Value) {
	b, secrets := bodyOf(r, account)
	password := passwordField(&r)
	for i := range r.Fields {
		if &r.Fields[i] == password && !password.Secret.IsZero() {
			secrets = append(secrets, password.Secret)
			b.Fields[i].Secret = len(secrets)
		}
	}
	return snapshot{Head: r.Head, Body: b}, secrets
}

// openSnapshot reads a snapshot; the record owns its secrets.
func (t *txn) openSnapshot(r row) (pam.Record, pam.UID, error) {
	var s snapshot
	secrets, err := t.open(r, &s)
	if err != nil {
		return pam.Record{}, "", err
	}
	return s.Body.record(s.Head, secrets), s.Body.Account, nil
}

// History returns a record as it is and as it was, the newest first, each with
// its secrets, which the caller destroys. [pam.Head.Revision] names a revision.
// What was pruned is missing, and so is what was replaced before this program
// kept revisions.
func (v *Vault) History(ctx context.Context, uid pam.UID) ([]pam.Record, error) {
	var history []pam.Record
	err := v.view(ctx, func(t *txn) error {
		rows, err := t.rows(ctx, groupRevision, uid)
		if err != nil {
			return err
		}
		for _, row := range rows {
			r, _, err := t.openSnapshot(row)
			if err != nil {
				return err
			}
			history = append(history, r)
		}
		now, _, err := t.mustWhole(ctx, uid)
		history = append(history, now)
		return err
	})
	slices.Reverse(history)
	if err != nil {
		DestroyHistory(history)
		return nil, err
	}
	return history, nil
}

// DestroyHistory destroys the secrets of a history.
func DestroyHistory(history []pam.Record) {
	for _, r := range history {
		r.Destroy()
	}
}

// RestoreOptions say what else a revision gives back.
type RestoreOptions struct {
	Password bool // that of a pamUser
}

// RestoreRevision gives a record the type, title, notes and fields of one of its
// revisions, as a new revision; its folder stays. ErrNotFound when there is no
// such revision.
//
// The credential of a pamUser is not a field: it is left alone, unless o asks for
// the password of then, which becomes a generation of source manual. A
// revision with another login names the account that it named then. Both are
// refused with ErrConflict, naming the job, while a job holds an account.
func (v *Vault) RestoreRevision(ctx context.Context, uid pam.UID, revision int64, o RestoreOptions) error {
	return v.update(ctx, "restore record "+string(uid), func(t *txn) error {
		now, err := t.mustRecord(ctx, uid)
		if err != nil {
			return err
		}
		defer now.Destroy()
		row, found, err := t.fetch(ctx, revisionKey(uid, revision))
		if err != nil {
			return err
		}
		if !found || revision == now.Revision {
			return errNoRevision(now.Head, revision)
		}
		then, named, err := t.openSnapshot(row)
		if err != nil {
			return err
		}
		defer then.Destroy()
		then.UID, then.Folder, then.Created = now.UID, now.Folder, now.Created
		if f := passwordField(&then); f != nil && !o.Password {
			f.Secret.Destroy() // a view of the credential, which stays
		}
		account, err := t.restoreUser(ctx, &now, &then, named)
		if err != nil {
			return err
		}
		if err := t.putRecord(ctx, then, account); err != nil {
			return err
		}
		return t.audit(ctx, "record.restore", uid, "revision %d", revision)
	})
}

func errNoRevision(h pam.Head, revision int64) error {
	if revision == h.Revision {
		return pam.Errorf(pam.ErrInvalidInput, "revision %d is what record %q (%s) is now; nothing changed", revision, h.Title, h.UID)
	}
	return pam.Errorf(pam.ErrNotFound, "record %q (%s) has no revision %d; nothing changed", h.Title, h.UID, revision).
		WithHint("keyturn record-history list %s", h.UID)
}

// restoreUser brings the account of a pamUser in line with the revision then,
// which named another account if its login was another, and returns it. The
// password in then is the one to restore, empty if none.
func (t *txn) restoreUser(ctx context.Context, now, then *pam.Record, named pam.UID) (pam.UID, error) {
	if now.Type != pam.TypeUser || then.Type != pam.TypeUser || now.Text("login", "") == then.Text("login", "") {
		return t.updateUser(ctx, now, then)
	}
	account, err := t.accountOf(ctx, now.UID)
	if err != nil || named == account {
		return account, err
	}
	if _, there, err := load[pam.Account](ctx, t, rowKey(groupAccount, named)); err != nil {
		return "", err
	} else if !there {
		return "", pam.Errorf(pam.ErrInvalidInput, "the account %q that the revision named is another's by now; nothing changed",
			then.Text("login", "")).WithHint("keyturn record-update -r %s login=LOGIN password=", now.UID)
	}
	for _, uid := range []pam.UID{account, named} {
		if err := t.notHeld(ctx, uid, "restore user "+now.Title); err != nil {
			return "", err
		}
	}
	if err := t.drop(ctx, ownedKey(groupUser, account, string(now.UID))); err != nil {
		return "", err
	}
	if err := t.restorePassword(ctx, named, then); err != nil {
		return "", err
	}
	return named, t.link(ctx, named, now.UID)
}

// restorePassword makes the password of a pamUser the current one of an account,
// unless it is or is empty.
func (t *txn) restorePassword(ctx context.Context, account pam.UID, r *pam.Record) error {
	current, _, err := t.newest(ctx, account, pam.Current)
	if err != nil {
		return err
	}
	defer current.Password.Destroy()
	typed := typedPassword(r, current.Password)
	if typed.IsZero() {
		return nil
	}
	if err := t.setManual(ctx, account, typed); err != nil {
		return err
	}
	return t.touchUsers(ctx, account, r.UID)
}

// PruneHistory removes all but the newest keep former revisions of a record for
// good, and returns how many there were. What the record is now always stays.
func (v *Vault) PruneHistory(ctx context.Context, uid pam.UID, keep int) (int, error) {
	pruned := 0
	err := v.update(ctx, "prune the history of record "+string(uid), func(t *txn) error {
		if _, err := t.mustHead(ctx, uid); err != nil {
			return err
		}
		rows, err := t.rows(ctx, groupRevision, uid)
		if err != nil || len(rows) <= keep {
			return err
		}
		for _, r := range rows[:len(rows)-keep] {
			if err := t.drop(ctx, r.key); err != nil {
				return err
			}
			pruned++
		}
		return t.audit(ctx, "record.prune", uid, "%d revisions", pruned)
	})
	return pruned, err
}
