package vault

import (
	"cmp"
	"context"
	"slices"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// A trashed is a record in the trash, and what the vault knew of it.
type trashed struct {
	snapshot

	Deleted  time.Time             `json:"deleted"`
	Rotation *pam.RotationSettings `json:"rotation,omitempty"`
	Resource *pam.ResourceSettings `json:"resource,omitempty"`
	Mappings []pam.Mapping         `json:"mappings,omitempty"`
}

// A Trashed is a record in the trash as lists show it.
type Trashed struct {
	pam.Head

	Deleted  time.Time
	Mappings int
}

// A Restored says what came back with a record.
type Restored struct {
	Head     pam.Head
	ToRoot   bool // its folder is gone: it lies in the root
	Mappings int  // came back
	Waiting  int  // come back with the other record, which is in the trash
	Lost     int  // the other record is gone
}

// DeleteRecord moves a record, its mappings and settings to the trash.
// ErrConflict while a job that is not terminal uses it. The credential of a
// pamUser stays where it is, with its account.
func (v *Vault) DeleteRecord(ctx context.Context, uid pam.UID) error {
	return v.update(ctx, "delete record "+string(uid), func(t *txn) error {
		r, account, err := t.mustWhole(ctx, uid)
		if err != nil {
			return err
		}
		defer r.Destroy()
		if err := t.notUsed(ctx, r.Head); err != nil {
			return err
		}
		s, secrets := snapshotOf(r, account)
		d := trashed{snapshot: s, Deleted: t.v.now().UTC()}
		if err := t.takeSettings(ctx, uid, &d); err != nil {
			return err
		}
		for _, k := range []key{rowKey(groupHead, uid), rowKey(groupBody, uid), ownedKey(groupUser, account, string(uid))} {
			if err := t.drop(ctx, k); err != nil {
				return err
			}
		}
		if err := t.shelve(ctx, r.Head, pam.Head{}); err != nil {
			return err
		}
		if err := t.putTrash(ctx, d, secrets); err != nil {
			return err
		}
		return t.audit(ctx, "record.delete", uid, "")
	})
}

// takeSettings moves a record's settings and mappings from their rows to d.
func (t *txn) takeSettings(ctx context.Context, uid pam.UID, d *trashed) error {
	rotation, found, err := load[pam.RotationSettings](ctx, t, rowKey(groupRotation, uid))
	if err != nil {
		return err
	}
	if found {
		d.Rotation = &rotation
	}
	resource, found, err := load[pam.ResourceSettings](ctx, t, rowKey(groupResource, uid))
	if err != nil {
		return err
	}
	if found {
		d.Resource = &resource
	}
	drop := []key{rowKey(groupRotation, uid), rowKey(groupResource, uid)}
	own, err := t.rows(ctx, groupMapping, uid)
	if err != nil {
		return err
	}
	others, err := t.byID(ctx, groupMapping, uid)
	if err != nil {
		return err
	}
	for _, r := range slices.Concat(own, others) {
		var m pam.Mapping
		secrets, err := t.open(r, &m)
		destroy(secrets)
		if err != nil {
			return err
		}
		d.Mappings, drop = append(d.Mappings, m), append(drop, r.key)
	}
	for _, k := range drop {
		if err := t.drop(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) putTrash(ctx context.Context, d trashed, secrets []secret.Value) error {
	return t.put(ctx, rowKey(groupTrash, d.Head.UID), d, secrets...)
}

// inTrash reads a record of the trash; the caller destroys the secrets.
func (t *txn) inTrash(ctx context.Context, uid pam.UID) (d trashed, secrets []secret.Value, found bool, err error) {
	r, found, err := t.fetch(ctx, rowKey(groupTrash, uid))
	if err != nil || !found {
		return d, nil, false, err
	}
	secrets, err = t.open(r, &d)
	return d, secrets, true, err
}

// Trash returns what is in the trash, what was deleted last first.
func (v *Vault) Trash(ctx context.Context) ([]Trashed, error) {
	docs, err := list(ctx, v, groupTrash, func(a, b trashed) int {
		return cmp.Or(b.Deleted.Compare(a.Deleted), cmp.Compare(a.Head.UID, b.Head.UID))
	})
	found := make([]Trashed, len(docs))
	for i, d := range docs {
		found[i] = Trashed{Head: d.Head, Deleted: d.Deleted, Mappings: len(d.Mappings)}
	}
	return found, err
}

// TrashedRecord returns a whole record that is in the trash; ErrNotFound.
func (v *Vault) TrashedRecord(ctx context.Context, uid pam.UID) (pam.Record, error) {
	var r pam.Record
	err := v.view(ctx, func(t *txn) error {
		d, secrets, err := t.mustTrash(ctx, uid)
		r = d.Body.record(d.Head, secrets)
		return err
	})
	return r, err
}

func (t *txn) mustTrash(ctx context.Context, uid pam.UID) (trashed, []secret.Value, error) {
	d, secrets, found, err := t.inTrash(ctx, uid)
	if err == nil && !found {
		err = pam.Errorf(pam.ErrNotFound, "record %s is not in the trash; nothing changed", uid).WithHint("keyturn trash list")
	}
	return d, secrets, err
}

// RestoreRecord takes a record out of the trash, with the UID, settings and
// mappings that it had, as a new revision. A pamUser names its account again and
// shows the password that this has now. What it was mapped to must be there: a
// mapping to a record that is in the trash itself comes back with that one.
func (v *Vault) RestoreRecord(ctx context.Context, uid pam.UID) (Restored, error) {
	var out Restored
	err := v.update(ctx, "restore record "+string(uid), func(t *txn) error {
		d, secrets, err := t.mustTrash(ctx, uid)
		if err != nil {
			return err
		}
		defer destroy(secrets)
		r := d.Body.record(d.Head, secrets)
		if err := t.put(ctx, revisionKey(uid, r.Revision), d.snapshot, secrets...); err != nil {
			return err
		}
		if err := t.drop(ctx, rowKey(groupTrash, uid)); err != nil {
			return err
		}
		if out.ToRoot, err = t.folderGone(ctx, r.Folder); err != nil {
			return err
		}
		if out.ToRoot {
			r.Folder = ""
		}
		if err := t.putRecord(ctx, r, d.Body.Account); err != nil {
			return err
		}
		out.Head = r.Head
		if err := t.giveSettings(ctx, d, &out); err != nil {
			return err
		}
		return t.audit(ctx, "record.undelete", uid, "")
	})
	return out, err
}

func (t *txn) folderGone(ctx context.Context, folder pam.UID) (bool, error) {
	if folder == "" {
		return false, nil
	}
	_, found, err := load[pam.Folder](ctx, t, rowKey(groupFolder, folder))
	return !found, err
}

// giveSettings puts back what takeSettings took.
func (t *txn) giveSettings(ctx context.Context, d trashed, out *Restored) error {
	uid := d.Head.UID
	if d.Body.Account != "" {
		if err := t.link(ctx, d.Body.Account, uid); err != nil {
			return err
		}
	}
	var err error
	if d.Rotation != nil {
		if d.Rotation.Configuration, err = t.configurationLeft(ctx, d.Rotation.Configuration); err != nil {
			return err
		}
		if err := t.put(ctx, rowKey(groupRotation, uid), *d.Rotation); err != nil {
			return err
		}
	}
	if d.Resource != nil {
		if d.Resource.Configuration, err = t.configurationLeft(ctx, d.Resource.Configuration); err != nil {
			return err
		}
		if err := t.put(ctx, rowKey(groupResource, uid), *d.Resource); err != nil {
			return err
		}
	}
	for _, m := range d.Mappings {
		if err := t.giveMapping(ctx, uid, m, out); err != nil {
			return err
		}
	}
	return nil
}

// giveMapping puts back one mapping of a record, or hands it on to the other
// record where that one is in the trash.
func (t *txn) giveMapping(ctx context.Context, uid pam.UID, m pam.Mapping, out *Restored) error {
	other := m.Machine
	if other == uid {
		other = m.User
	}
	_, there, err := load[pam.Head](ctx, t, rowKey(groupHead, other))
	if err != nil {
		return err
	}
	if there {
		out.Mappings++
		return t.put(ctx, ownedKey(groupMapping, m.User, string(m.Machine)), m)
	}
	d, secrets, found, err := t.inTrash(ctx, other)
	if err != nil {
		return err
	}
	defer destroy(secrets)
	if !found {
		out.Lost++
		return nil
	}
	out.Waiting++
	d.Mappings = append(d.Mappings, m)
	return t.putTrash(ctx, d, secrets)
}

// repointTrash makes the records in the trash that name one account name another.
func (t *txn) repointTrash(ctx context.Context, from, to pam.UID) error {
	docs, err := all[trashed](ctx, t, groupTrash, every)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		if doc.Body.Account != from {
			continue
		}
		d, secrets, err := t.mustTrash(ctx, doc.Head.UID)
		if err != nil {
			return err
		}
		d.Body.Account = to
		err = t.putTrash(ctx, d, secrets)
		destroy(secrets)
		if err != nil {
			return err
		}
	}
	return nil
}

// Purge removes records from the trash for good, with all their revisions; all
// of them or none. The passwords of accounts stay: a machine may still use one.
func (v *Vault) Purge(ctx context.Context, records []pam.UID) error {
	return v.update(ctx, "purge the trash", func(t *txn) error {
		for _, uid := range records {
			_, secrets, err := t.mustTrash(ctx, uid)
			destroy(secrets)
			if err != nil {
				return err
			}
			revisions, err := t.rows(ctx, groupRevision, uid)
			if err != nil {
				return err
			}
			for _, r := range revisions {
				if err := t.drop(ctx, r.key); err != nil {
					return err
				}
			}
			if err := t.drop(ctx, rowKey(groupTrash, uid)); err != nil {
				return err
			}
			if err := t.audit(ctx, "record.purge", uid, "%d revisions", len(revisions)); err != nil {
				return err
			}
		}
		return nil
	})
}
