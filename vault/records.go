package vault

import (
	"cmp"
	"context"
	"slices"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// Heads returns all records' heads, sorted by title without case, then UID.
func (v *Vault) Heads(ctx context.Context) ([]pam.Head, error) {
	var heads []pam.Head
	err := v.view(ctx, func(t *txn) (err error) {
		heads, err = t.heads(ctx)
		return err
	})
	return heads, err
}

func (t *txn) heads(ctx context.Context) ([]pam.Head, error) {
	heads, err := all[pam.Head](ctx, t, groupHead, every)
	sortHeads(heads)
	return heads, err
}

// sortHeads puts heads in the order of lists: by title without case, then UID.
func sortHeads(heads []pam.Head) {
	slices.SortFunc(heads, func(a, b pam.Head) int {
		return cmp.Or(compareLower(a.Title, b.Title), cmp.Compare(a.UID, b.UID))
	})
}

// Record returns a whole record. The password field of a pamUser is a view of
// its account's current generation.
func (v *Vault) Record(ctx context.Context, uid pam.UID) (pam.Record, error) {
	var r pam.Record
	err := v.view(ctx, func(t *txn) error {
		var err error
		r, _, err = t.mustWhole(ctx, uid)
		return err
	})
	return r, err
}

// Records returns whole records of one moment, in the order asked for. The caller
// destroys their secrets, also after an error.
func (v *Vault) Records(ctx context.Context, uids []pam.UID) ([]pam.Record, error) {
	records := make([]pam.Record, 0, len(uids))
	err := v.view(ctx, func(t *txn) error {
		for _, uid := range uids {
			r, _, err := t.mustWhole(ctx, uid)
			if err != nil {
				return err
			}
			records = append(records, r)
		}
		return nil
	})
	return records, err
}

// record reads a record without the password of a pamUser.
func (t *txn) record(ctx context.Context, uid pam.UID) (r pam.Record, found bool, err error) {
	h, found, err := load[pam.Head](ctx, t, rowKey(groupHead, uid))
	if err != nil || !found {
		return r, false, err
	}
	b, secrets, err := t.body(ctx, uid)
	if err != nil {
		return r, false, err
	}
	return b.record(h, secrets), true, nil
}

func (t *txn) body(ctx context.Context, uid pam.UID) (b body, secrets []secret.Value, err error) {
	row, found, err := t.fetch(ctx, rowKey(groupBody, uid))
	if err != nil {
		return b, nil, err
	}
	if !found {
		return b, nil, tampered("record %s has no body", uid)
	}
	secrets, err = t.open(row, &b)
	return b, secrets, err
}

func (t *txn) mustRecord(ctx context.Context, uid pam.UID) (pam.Record, error) {
	r, found, err := t.record(ctx, uid)
	if err == nil && !found {
		err = t.errNoRecord(ctx, uid)
	}
	return r, err
}

func (t *txn) mustHead(ctx context.Context, uid pam.UID) (pam.Head, error) {
	h, found, err := load[pam.Head](ctx, t, rowKey(groupHead, uid))
	if err == nil && !found {
		err = t.errNoRecord(ctx, uid)
	}
	return h, err
}

// errNoRecord says that a record is not there. One that is in the trash still has a
// title, and comes back.
func (t *txn) errNoRecord(ctx context.Context, uid pam.UID) error {
	d, secrets, found, err := t.inTrash(ctx, uid)
	destroy(secrets)
	if err != nil || !found {
		return pam.Errorf(pam.ErrNotFound, "there is no record %s", uid)
	}
	return pam.Errorf(pam.ErrNotFound, "record %q (%s) is in the trash", d.Head.Title, uid).
		WithHint("keyturn trash restore %s", uid)
}

// accountOf returns the account that a pamUser names.
func (t *txn) accountOf(ctx context.Context, user pam.UID) (pam.UID, error) {
	b, secrets, err := t.body(ctx, user)
	destroy(secrets)
	return b.Account, err
}

// AddRecord stores a new record (UID, Revision and times are set here) and
// returns its UID. A pamUser gets an account; its password becomes the first
// generation, of source manual.
func (v *Vault) AddRecord(ctx context.Context, r pam.Record) (pam.UID, error) {
	if err := checkText(&r); err != nil {
		return "", err
	}
	var uid pam.UID
	r.UID = ""
	err := v.update(ctx, "add record "+r.Title, func(t *txn) (err error) {
		uid, err = t.addRecord(ctx, r)
		return err
	})
	if err != nil {
		return "", err
	}
	return uid, nil
}

// addRecord adds a record; one without a UID gets one. There is no record of its
// UID yet.
func (t *txn) addRecord(ctx context.Context, r pam.Record) (uid pam.UID, err error) {
	if r.UID == "" {
		if r.UID, err = t.newUID(); err != nil {
			return "", err
		}
	}
	r.Created = t.v.now().UTC()
	var account pam.UID
	if r.Type == pam.TypeUser {
		if account, err = t.addUser(ctx, &r); err != nil {
			return "", err
		}
	}
	if err := t.writeRecord(ctx, pam.Head{}, r, account); err != nil {
		return "", err
	}
	return r.UID, t.audit(ctx, "record.add", r.UID, "")
}

// addUser makes the account of a pamUser.
func (t *txn) addUser(ctx context.Context, r *pam.Record) (pam.UID, error) {
	account, err := t.newAccount(ctx, r.Text("login", ""), "")
	if err != nil {
		return "", err
	}
	if err := t.link(ctx, account, r.UID); err != nil {
		return "", err
	}
	if f := passwordField(r); f != nil && !f.Secret.IsZero() {
		err = t.putGeneration(ctx, pam.Generation{ // the first: a new account has none to look for
			Account: account, Number: 1, Created: t.v.now().UTC(), Status: pam.Current, Source: pam.SourceManual, Password: f.Secret,
		})
	}
	return account, err
}

// putRecord writes both parts of a record as a new revision; what the record was
// is kept.
func (t *txn) putRecord(ctx context.Context, r pam.Record, account pam.UID) error {
	was, err := t.archive(ctx, r.UID)
	if err != nil {
		return err
	}
	return t.writeRecord(ctx, was, r, account)
}

// writeRecord writes both parts of a record, the former revision of which is kept
// already; was is its head, the zero one of a new record.
func (t *txn) writeRecord(ctx context.Context, was pam.Head, r pam.Record, account pam.UID) error {
	if r.Folder != "" {
		if _, found, err := load[pam.Folder](ctx, t, rowKey(groupFolder, r.Folder)); err != nil {
			return err
		} else if !found {
			return pam.Errorf(pam.ErrNotFound, "there is no folder %s", r.Folder)
		}
	}
	r.Revision, r.Summary, r.Modified = t.next(), summary(&r), t.v.now().UTC()
	if err := t.put(ctx, rowKey(groupHead, r.UID), r.Head); err != nil {
		return err
	}
	if err := t.shelve(ctx, was, r.Head); err != nil {
		return err
	}
	b, secrets := bodyOf(r, account)
	return t.put(ctx, rowKey(groupBody, r.UID), b, secrets...)
}

// UpdateRecord replaces a record whose Revision is the one that was read;
// ErrConflict otherwise. A changed password of a pamUser becomes a generation of
// source manual, and is refused with ErrConflict, naming the job, while a job
// holds the account. An empty password changes nothing: see [Vault.RemovePassword].
// A changed login names another account, which starts with the password of the
// record.
func (v *Vault) UpdateRecord(ctx context.Context, r pam.Record) error {
	return v.updateRecord(ctx, r, func(*txn) error { return nil })
}

// RemovePassword is UpdateRecord of a pamUser that is left without a password: the
// current one becomes a previous one, which the record's history shows. It is
// refused with ErrConflict while a job holds the account.
func (v *Vault) RemovePassword(ctx context.Context, r pam.Record) error {
	return v.updateRecord(ctx, r, func(t *txn) error {
		account, err := t.accountOf(ctx, r.UID)
		if err != nil {
			return err
		}
		if err := t.notHeld(ctx, account, "remove the password of user "+r.Title); err != nil {
			return err
		}
		if err := t.retire(ctx, account); err != nil {
			return err
		}
		if err := t.touchUsers(ctx, account, r.UID); err != nil {
			return err
		}
		return t.audit(ctx, "record.unset-password", r.UID, "")
	})
}

// updateRecord replaces a record, after first.
func (v *Vault) updateRecord(ctx context.Context, r pam.Record, first func(*txn) error) error {
	if err := checkText(&r); err != nil {
		return err
	}
	return v.update(ctx, "update record "+r.Title, func(t *txn) error {
		old, err := t.mustRecord(ctx, r.UID)
		if err != nil {
			return err
		}
		defer old.Destroy()
		if old.Revision != r.Revision {
			return pam.Errorf(pam.ErrConflict, "record %q (%s) was changed meanwhile; nothing changed", old.Title, old.UID).
				WithHint("read it again and repeat the change")
		}
		if err := first(t); err != nil {
			return err
		}
		return t.replaceRecord(ctx, old, r)
	})
}

// replaceRecord writes r in the place of old.
func (t *txn) replaceRecord(ctx context.Context, old, r pam.Record) error {
	account, err := t.updateUser(ctx, &old, &r)
	if err != nil {
		return err
	}
	r.Created = old.Created
	if err := t.putRecord(ctx, r, account); err != nil {
		return err
	}
	return t.audit(ctx, "record.update", r.UID, "")
}

// updateUser brings the account of a pamUser in line with its record and returns it.
func (t *txn) updateUser(ctx context.Context, old, r *pam.Record) (pam.UID, error) {
	switch {
	case old.Type != pam.TypeUser && r.Type != pam.TypeUser:
		return "", nil
	case old.Type != pam.TypeUser:
		return t.addUser(ctx, r)
	case r.Type != pam.TypeUser:
		return "", pam.Errorf(pam.ErrInvalidInput, "record %q (%s) is a pamUser with a credential and cannot become a %s; nothing changed",
			old.Title, old.UID, r.Type).WithHint("add a new record")
	}
	account, err := t.accountOf(ctx, r.UID)
	if err != nil {
		return "", err
	}
	current, _, err := t.newest(ctx, account, pam.Current)
	if err != nil {
		return "", err
	}
	defer current.Password.Destroy()
	typed := typedPassword(r, current.Password)
	moved := old.Text("login", "") != r.Text("login", "")
	if !moved && typed.IsZero() {
		return account, nil
	}
	if err := t.notHeld(ctx, account, "change user "+old.Title); err != nil {
		return "", err
	}
	if moved {
		return t.moveUser(ctx, account, r, cmp.Or(typed, current.Password))
	}
	if err := t.setManual(ctx, account, typed); err != nil {
		return "", err
	}
	return account, t.touchUsers(ctx, account, r.UID)
}

// typedPassword returns the password of a record that is to be written if it is
// a new one; empty if not.
func typedPassword(r *pam.Record, current secret.Value) secret.Value {
	f := passwordField(r)
	if f == nil || f.Secret.IsZero() || f.Secret.Equal(current) {
		return secret.Value{}
	}
	return f.Secret
}

// moveUser gives a record whose login changed an account of its own: the old
// one keeps its passwords and what is known of it.
func (t *txn) moveUser(ctx context.Context, from pam.UID, r *pam.Record, password secret.Value) (pam.UID, error) {
	old, err := t.account(ctx, from)
	if err != nil {
		return "", err
	}
	account, err := t.newAccount(ctx, r.Text("login", ""), old.Resource)
	if err != nil {
		return "", err
	}
	if err := t.drop(ctx, ownedKey(groupUser, from, string(r.UID))); err != nil {
		return "", err
	}
	if err := t.link(ctx, account, r.UID); err != nil {
		return "", err
	}
	if !password.IsZero() {
		err = t.setManual(ctx, account, password)
	}
	return account, err
}

// touchUsers gives the records of an account a new revision, so that a record
// that was read before its password changed cannot be written back. The record
// except is written by the caller.
func (t *txn) touchUsers(ctx context.Context, account, except pam.UID) error {
	users, err := t.users(ctx, account)
	if err != nil {
		return err
	}
	for _, user := range users {
		if user == except {
			continue
		}
		if err := t.repoint(ctx, user, account); err != nil {
			return err
		}
	}
	return nil
}

// repoint writes a pamUser again, as a new revision that names account.
func (t *txn) repoint(ctx context.Context, user, account pam.UID) error {
	r, err := t.mustRecord(ctx, user)
	if err != nil {
		return err
	}
	defer r.Destroy()
	return t.putRecord(ctx, r, account)
}

// notUsed is ErrConflict while a job that is not at a good end needs the record:
// as its user, as the authority, as a mapped machine or one of its items, or as
// who logs in there.
func (t *txn) notUsed(ctx context.Context, h pam.Head) error {
	jobs, err := t.unsettled(ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		used, err := t.uses(ctx, j, h.UID)
		if err != nil {
			return err
		}
		if used {
			return pam.Errorf(pam.ErrConflict, "record %q (%s) is used by job %s (%s); nothing changed", h.Title, h.UID, j.ID, j.State).
				WithHint("keyturn pam action resume %s ends it; job-cancel %s --abandon gives up what a partial one left", j.ID, j.ID)
		}
	}
	return nil
}

func (t *txn) uses(ctx context.Context, j pam.Job, record pam.UID) (bool, error) {
	if j.User == record {
		return true, nil
	}
	a, err := t.account(ctx, j.Account)
	if err != nil || a.Resource == record {
		return true, err
	}
	if _, mapped, err := t.fetch(ctx, ownedKey(groupMapping, j.User, string(record))); mapped || err != nil {
		return true, err
	}
	items, err := all[pam.Item](ctx, t, groupItem, j.ID)
	if err != nil {
		return false, err
	}
	machines := []pam.UID{a.Resource}
	for _, i := range items {
		machines = append(machines, i.Machine)
	}
	if slices.Contains(machines, record) {
		return true, nil
	}
	return t.adminOfAny(ctx, machines, record)
}

// adminOfAny reports whether a record logs in to one of the machines.
func (t *txn) adminOfAny(ctx context.Context, machines []pam.UID, record pam.UID) (bool, error) {
	slices.Sort(machines)
	for _, m := range slices.Compact(machines) {
		if m == "" {
			continue
		}
		if admin, _, err := t.admin(ctx, m); err != nil || admin == record {
			return true, err
		}
	}
	return false, nil
}
