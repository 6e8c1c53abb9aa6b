package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"keyturn/pkg/pam"
	"keyturn/vault/seal"
)

// What was saved may refer to what was lost. These steps make it whole in itself,
// so that the new vault has nothing that it would call damaged.

// mendAccounts makes accounts that rows belong to and that are lost, and the names
// that all of them are found by.
func (w *wreck) mendAccounts(ctx context.Context, t *txn) error {
	names := map[pam.UID]string{}
	for _, r := range w.saved {
		account, name, err := w.namedBy(t, r.row)
		if err != nil {
			return err
		}
		if account != "" {
			names[account] = cmp.Or(names[account], name)
		}
	}
	accounts, err := all[pam.Account](ctx, t, groupAccount, every)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		delete(names, a.UID)
		if a.Identity == "" {
			continue
		}
		k, err := t.aliasKey(a.Identity)
		if err == nil {
			err = t.put(ctx, k, alias{a.UID})
		}
		if err != nil {
			return err
		}
	}
	for uid, name := range names {
		if err := t.put(ctx, rowKey(groupAccount, uid), pam.Account{UID: uid, Name: cmp.Or(name, "salvaged "+string(uid))}); err != nil {
			return err
		}
	}
	return nil
}

// namedBy returns the account that a row belongs to, and what the row calls it.
func (w *wreck) namedBy(t *txn, r row) (account pam.UID, name string, err error) {
	switch r.group {
	case groupCredential, groupDeployment, groupUser:
		return pam.UID(r.owner), "", nil
	case groupJob:
		var j jobRow
		_, err := t.open(r, &j)
		return pam.UID(r.owner), j.AccountName, err
	case groupBody:
		var b body
		secrets, err := t.open(r, &b)
		destroy(secrets)
		return b.Account, loginOf(b), err
	default:
		return "", "", nil
	}
}

func loginOf(b body) string {
	r := b.record(pam.Head{}, nil)
	return r.Text("login", "")
}

// mendRecords makes the half of a record that is lost, and puts into the trash
// what is left of those that are lost but for former revisions.
func (w *wreck) mendRecords(ctx context.Context, t *txn) error {
	for uid := range w.uids(groupHead, groupBody) {
		if err := w.mendRecord(ctx, t, uid); err != nil {
			return err
		}
	}
	former := map[pam.UID]row{} // the newest revision
	err := w.each(groupRevision, func(r savedRow) error {
		former[pam.UID(r.owner)] = r.row // they come in order
		return nil
	})
	if err != nil {
		return err
	}
	for uid, r := range former {
		if err := w.mendFormer(ctx, t, uid, r); err != nil {
			return err
		}
	}
	return w.mendLinks(ctx, t)
}

// uids are the records that saved rows of some groups are about.
func (w *wreck) uids(groups ...group) map[pam.UID]bool {
	uids := map[pam.UID]bool{}
	for _, r := range w.saved {
		if slices.Contains(groups, r.group) {
			uids[pam.UID(r.id)] = true
		}
	}
	return uids
}

// mendRecord makes a head for a body or a body for a head.
func (w *wreck) mendRecord(ctx context.Context, t *txn, uid pam.UID) error {
	head, hasHead, err := t.fetch(ctx, rowKey(groupHead, uid))
	if err != nil {
		return err
	}
	body, hasBody, err := t.fetch(ctx, rowKey(groupBody, uid))
	switch {
	case err != nil:
		return err
	case !hasHead:
		return w.mendHead(ctx, t, uid, body)
	case !hasBody:
		return w.mendBody(ctx, t, uid, head)
	case head.revision != body.revision:
		w.losses[rowKey(groupHead, uid)] = "it and the fields are of different states"
	}
	return nil
}

// mendBody makes a body for a head. The password of a pamUser is its account's.
func (w *wreck) mendBody(ctx context.Context, t *txn, uid pam.UID, head row) (err error) {
	var h pam.Head
	if _, err := t.open(head, &h); err != nil {
		return err
	}
	var b body
	if h.Type == pam.TypeUser {
		if b.Account, err = w.accountOf(ctx, t, h); err != nil {
			return err
		}
		b.Fields = []field{{Type: "login", Values: []string{h.Summary}}}
	}
	h.Revision = t.next()
	if err := t.put(ctx, rowKey(groupHead, uid), h); err != nil {
		return err
	}
	return t.put(ctx, rowKey(groupBody, uid), b)
}

// mendHead makes a head for a body.
func (w *wreck) mendHead(ctx context.Context, t *txn, uid pam.UID, left row) error {
	var b body
	secrets, err := t.open(left, &b)
	if err != nil {
		return err
	}
	defer destroy(secrets)
	h, err := w.headOf(ctx, t, uid, b)
	if err != nil {
		return err
	}
	if err := t.put(ctx, rowKey(groupHead, uid), h); err != nil {
		return err
	}
	return t.put(ctx, rowKey(groupBody, uid), b, secrets...)
}

// accountOf returns the account of a pamUser whose body is lost: one that names
// it, else a new one.
func (w *wreck) accountOf(ctx context.Context, t *txn, h pam.Head) (account pam.UID, err error) {
	_ = w.each(groupUser, func(r savedRow) error {
		if r.id == string(h.UID) {
			account = pam.UID(r.owner)
		}
		return nil
	})
	if account == "" {
		return t.newAccount(ctx, h.Summary, "")
	}
	return account, nil
}

// headOf makes a head for a body: that of its newest revision, else one that the
// fields allow to guess.
func (w *wreck) headOf(ctx context.Context, t *txn, uid pam.UID, b body) (pam.Head, error) {
	h := pam.Head{UID: uid, Type: pam.TypeLogin, Title: "salvaged " + string(uid), Created: t.v.now().UTC(), Modified: t.v.now().UTC()}
	r := b.record(h, nil)
	switch {
	case b.Account != "":
		h.Type = pam.TypeUser
	case r.Field("pamHostname", "") != nil:
		h.Type = pam.TypeMachine
	}
	h.Summary = summary(&r)
	rows, err := t.rows(ctx, groupRevision, uid)
	if err != nil {
		return h, err
	}
	if len(rows) > 0 {
		was, _, err := t.openSnapshot(rows[len(rows)-1])
		if err != nil {
			return h, err
		}
		was.Destroy()
		h.Type, h.Title, h.Folder, h.Created = was.Type, was.Title, was.Folder, was.Created
	}
	h.Revision = t.next()
	return h, nil
}

// mendFormer puts the newest revision of a record that is lost into the trash,
// with its settings and mappings.
func (w *wreck) mendFormer(ctx context.Context, t *txn, uid pam.UID, newest row) error {
	for _, k := range []key{rowKey(groupHead, uid), rowKey(groupTrash, uid)} {
		if _, found, err := t.fetch(ctx, k); found || err != nil {
			return err
		}
	}
	var s snapshot
	secrets, err := t.open(newest, &s)
	if err != nil {
		return err
	}
	defer destroy(secrets)
	w.losses[rowKey(groupHead, uid)] = cmp.Or(w.losses[rowKey(groupHead, uid)], whyMissing)
	d := trashed{snapshot: s, Deleted: t.v.now().UTC()}
	if err := t.takeSettings(ctx, uid, &d); err != nil {
		return err
	}
	return t.putTrash(ctx, d, secrets)
}

// mendLinks keeps for each pamUser the row that says whose account it names, and
// no other.
func (w *wreck) mendLinks(ctx context.Context, t *txn) error {
	links, err := t.rows(ctx, groupUser, every)
	if err != nil {
		return err
	}
	for _, l := range links {
		b, found, err := load[body](ctx, t, rowKey(groupBody, pam.UID(l.id)))
		if err == nil && (!found || b.Account != pam.UID(l.owner)) {
			err = t.drop(ctx, l.key)
		}
		if err != nil {
			return err
		}
	}
	bodies, err := t.rows(ctx, groupBody, every)
	if err != nil {
		return err
	}
	for _, r := range bodies {
		if err := w.mendLink(ctx, t, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *wreck) mendLink(ctx context.Context, t *txn, r row) error {
	var b body
	secrets, err := t.open(r, &b)
	destroy(secrets)
	if err != nil || b.Account == "" {
		return err
	}
	_, found, err := t.fetch(ctx, ownedKey(groupUser, b.Account, r.id))
	if err != nil || found {
		return err
	}
	return t.link(ctx, b.Account, pam.UID(r.id))
}

// mendSettings drops settings and mappings of records that are lost.
func (w *wreck) mendSettings(ctx context.Context, t *txn) error {
	heads, err := t.rows(ctx, groupHead, every)
	if err != nil {
		return err
	}
	there := map[string]bool{"": true}
	for _, h := range heads {
		there[h.id] = true
	}
	return w.dropUnless(ctx, t, func(k key) bool { return there[k.owner] && there[k.id] }, groupRotation, groupResource, groupMapping)
}

// dropUnless removes the rows of some groups that are not wanted.
func (w *wreck) dropUnless(ctx context.Context, t *txn, wanted func(key) bool, groups ...group) error {
	for _, g := range groups {
		rows, err := t.rows(ctx, g, every)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if wanted(r.key) {
				continue
			}
			if err := t.drop(ctx, r.key); err != nil {
				return err
			}
			w.losses[r.key] = "what it belongs to is lost"
		}
	}
	return nil
}

// mendFolders puts what lay in a folder that is lost into the root.
func (w *wreck) mendFolders(ctx context.Context, t *txn) error {
	tree, err := t.tree(ctx)
	if err != nil {
		return err
	}
	gone := func(f pam.UID) bool { _, ok := tree[f]; return f != "" && !ok }
	for _, f := range tree {
		if gone(f.Parent) {
			f.Parent = ""
			if err := t.put(ctx, rowKey(groupFolder, f.UID), f); err != nil {
				return err
			}
		}
	}
	heads, err := t.heads(ctx)
	if err != nil {
		return err
	}
	for _, h := range heads {
		if !gone(h.Folder) {
			continue
		}
		b, secrets, err := t.body(ctx, h.UID)
		if err != nil {
			return err
		}
		h.Folder, h.Revision = "", t.next()
		err = t.put(ctx, rowKey(groupHead, h.UID), h)
		if err == nil {
			err = t.put(ctx, rowKey(groupBody, h.UID), b, secrets...)
		}
		destroy(secrets)
		if err != nil {
			return err
		}
	}
	return nil
}

// mendJobs drops what belongs to lost jobs, and finds the jobs that are not at a
// good end anew.
func (w *wreck) mendJobs(ctx context.Context, t *txn) error {
	jobs, err := all[jobRow](ctx, t, groupJob, every)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, j := range jobs {
		there[string(j.ID)] = true
		t.meta.Fence = max(t.meta.Fence, j.Fence)
		if !settled(j.Job) {
			t.meta.Unsettled = append(t.meta.Unsettled, j.ID)
		}
	}
	return w.dropUnless(ctx, t, func(k key) bool { return there[k.owner] }, groupItem, groupStep, groupPlan)
}

func (w *wreck) mendDiscoveries(ctx context.Context, t *txn) error {
	rows, err := t.rows(ctx, groupDiscovery, every)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, r := range rows {
		there[r.id] = true
	}
	return w.dropUnless(ctx, t, func(k key) bool { return there[k.owner] }, groupFinding)
}

// mendDefaults makes the gateway and the configuration that no vault is without.
func (w *wreck) mendDefaults(ctx context.Context, t *txn) error {
	gateways, err := all[pam.Gateway](ctx, t, groupGateway, every)
	if err != nil {
		return err
	}
	if len(gateways) == 0 {
		uid, err := t.newUID()
		if err != nil {
			return err
		}
		gateways = []pam.Gateway{{UID: uid, Name: firstGateway}}
		if err := t.put(ctx, rowKey(groupGateway, uid), gateways[0]); err != nil {
			return err
		}
	}
	configurations, err := all[pam.Configuration](ctx, t, groupConfiguration, every)
	if err != nil || len(configurations) > 0 {
		return err
	}
	uid, err := t.newUID()
	if err != nil {
		return err
	}
	c := pam.Configuration{UID: uid, Title: firstConfiguration, Environment: "local", Gateway: gateways[0].UID}
	return t.put(ctx, rowKey(groupConfiguration, uid), c)
}

// doubt marks passwords that may not be those in force.
func (w *wreck) doubt(ctx context.Context, t *txn) error {
	return w.each(groupCredential, func(r savedRow) error {
		if r.doubt == "" {
			return nil
		}
		return t.unverify(ctx, r.row)
	})
}

// mendAudit goes on with the audit trail if it is whole. Else what is left of it
// begins a new one, each entry with what it says and the number that it had.
func (w *wreck) mendAudit(ctx context.Context, t *txn) error {
	if w.meta != nil {
		t.meta.AuditCount, t.meta.AuditHead = w.meta.AuditCount, w.meta.AuditHead
		t.meta.auditRoot, t.meta.auditKey = w.meta.auditRoot.Clone(), w.meta.auditKey.Clone()
		if t.verifyAudit(ctx) == nil {
			w.result.AuditWhole = true
			return nil
		}
		t.meta.auditRoot.Destroy()
		t.meta.auditKey.Destroy()
	}
	root, err := seal.NewKey(t.v.random)
	if err != nil {
		return err
	}
	t.meta.AuditCount, t.meta.AuditHead, t.meta.auditRoot, t.meta.auditKey = 0, nil, root, root.Clone()
	if _, err := t.db.ExecContext(ctx, `DELETE FROM rows WHERE kind = ?`, groupAudit); err != nil {
		return err
	}
	return w.each(groupAudit, func(r savedRow) error {
		var a auditRow
		var e AuditEntry
		_, err := w.open(r.row, &a)
		if err == nil {
			err = json.Unmarshal(a.Entry, &e)
		}
		if err != nil {
			return nil //nolint:nilerr // no entry: nothing to carry over
		}
		e.Detail = fmt.Sprintf("%s(salvaged: was entry %d)", spaced(e.Detail), e.Number)
		return t.chain(ctx, e)
	})
}

func spaced(s string) string {
	if s == "" {
		return s
	}
	return s + " "
}
