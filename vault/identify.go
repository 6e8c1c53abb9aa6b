package vault

import (
	"context"
	"slices"

	"keyturn/pkg/pam"
)

// An alias says which account has an identity.
type alias struct {
	Account pam.UID `json:"account"`
}

func (t *txn) aliasKey(identity string) (key, error) {
	id, err := t.v.aliasID(identity)
	return key{group: groupAlias, id: id}, err
}

func (v *Vault) aliasID(identity string) (string, error) {
	id, err := v.box.Index("alias", identity)
	return id, sealError("alias", err)
}

// dropAlias frees an identity; "" is none.
func (t *txn) dropAlias(ctx context.Context, identity string) error {
	if identity == "" {
		return nil
	}
	k, err := t.aliasKey(identity)
	if err != nil {
		return err
	}
	return t.drop(ctx, k)
}

// Identify records what the authority calls the account. If another account has
// that identity already, the two become one, which is returned: the records and
// jobs of this one go over to it. ErrConflict when a job holds the other.
func (v *Vault) Identify(ctx context.Context, account pam.UID, id pam.Identity) (pam.Account, error) {
	var a pam.Account
	err := v.update(ctx, "identify account "+string(account), func(t *txn) (err error) {
		a, err = t.identify(ctx, account, id)
		return err
	})
	if err != nil {
		return pam.Account{}, err
	}
	return a, nil
}

func (t *txn) identify(ctx context.Context, account pam.UID, id pam.Identity) (pam.Account, error) {
	a, err := t.account(ctx, account)
	if err != nil {
		return a, err
	}
	if id.Alias == "" {
		return a, pam.Errorf(pam.ErrInternal, "identify account %s: no identity", a.Name)
	}
	if a.Identity == id.Alias && a.SID == id.SID {
		return a, nil
	}
	k, err := t.aliasKey(id.Alias)
	if err != nil {
		return a, err
	}
	owner, taken, err := load[alias](ctx, t, k)
	if err != nil {
		return a, err
	}
	if taken && owner.Account != account {
		return t.merge(ctx, a, owner.Account)
	}
	if err := t.dropAlias(ctx, a.Identity); err != nil {
		return a, err
	}
	if err := t.put(ctx, k, alias{account}); err != nil {
		return a, err
	}
	a.Identity, a.SID = id.Alias, id.SID
	if err := t.put(ctx, rowKey(groupAccount, account), a); err != nil {
		return a, err
	}
	return a, t.audit(ctx, "account.identify", account, "")
}

// A renumbering maps the generation numbers of one account from before a merge
// to those after it.
type renumbering map[int]int

// merge makes two accounts that the authority knows as one into one: everything
// of from goes over to the account into.
func (t *txn) merge(ctx context.Context, from pam.Account, into pam.UID) (pam.Account, error) {
	to, err := t.account(ctx, into)
	if err != nil {
		return to, err
	}
	if err := t.notHeld(ctx, into, "account "+from.Name+" is the same as "+to.Name+" at its authority"); err != nil {
		return to, err
	}
	for _, account := range []pam.UID{from.UID, into} {
		if err := t.archiveUsers(ctx, account); err != nil {
			return to, err
		}
	}
	fromNumbers, toNumbers, err := t.mergeHistories(ctx, from, to)
	if err != nil {
		return to, err
	}
	if err := t.moveJobs(ctx, into, into, toNumbers); err != nil {
		return to, err
	}
	if err := t.moveJobs(ctx, from.UID, into, fromNumbers); err != nil {
		return to, err
	}
	if err := t.moveDeployments(ctx, from.UID, into, fromNumbers, toNumbers); err != nil {
		return to, err
	}
	if err := t.moveUsers(ctx, from.UID, into); err != nil {
		return to, err
	}
	if err := t.dropAlias(ctx, from.Identity); err != nil {
		return to, err
	}
	if err := t.drop(ctx, rowKey(groupAccount, from.UID)); err != nil {
		return to, err
	}
	return to, t.audit(ctx, "account.merge", into, "account %s", from.UID)
}

// mergeHistories makes one history of two, in the order in which the passwords
// were made. The newer of two current passwords stays current.
func (t *txn) mergeHistories(ctx context.Context, from, to pam.Account) (fromNumbers, toNumbers renumbering, err error) {
	a, err := t.history(ctx, from.UID)
	if err != nil {
		return nil, nil, err
	}
	defer destroyHistory(a)
	b, err := t.history(ctx, to.UID)
	if err != nil {
		return nil, nil, err
	}
	defer destroyHistory(b)
	merged := slices.Concat(a, b)
	slices.SortStableFunc(merged, func(x, y pam.Generation) int { return x.Created.Compare(y.Created) })
	if err := settleStatuses(merged, from, to); err != nil {
		return nil, nil, err
	}
	numbers := map[pam.UID]renumbering{from.UID: {}, to.UID: {}}
	for i, g := range merged {
		numbers[g.Account][g.Number] = i + 1
		if g.Account == from.UID {
			if err := t.drop(ctx, ownedKey(groupCredential, from.UID, number(int64(g.Number)))); err != nil {
				return nil, nil, err
			}
		}
	}
	for i, g := range merged {
		g.Account, g.Number = to.UID, i+1
		if err := t.putGeneration(ctx, g); err != nil {
			return nil, nil, err
		}
	}
	return numbers[from.UID], numbers[to.UID], nil
}

// settleStatuses leaves one current generation, the newest. Two pending ones are
// refused: neither may be discarded.
func settleStatuses(merged []pam.Generation, from, to pam.Account) error {
	current, pending := false, 0
	for i := len(merged) - 1; i >= 0; i-- {
		switch merged[i].Status {
		case pam.Current:
			if current {
				merged[i].Status = pam.Previous
			}
			current = true
		case pam.Pending:
			pending++
		case pam.Previous, pam.Rejected:
		}
	}
	if pending > 1 {
		return pam.Errorf(pam.ErrConflict, "accounts %s and %s are one at their authority, and each has a new password "+
			"that may be live; nothing changed", from.Name, to.Name)
	}
	return nil
}

func (t *txn) moveJobs(ctx context.Context, from, to pam.UID, numbers renumbering) error {
	jobs, err := all[jobRow](ctx, t, groupJob, from)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if err := t.drop(ctx, ownedKey(groupJob, from, string(j.ID))); err != nil {
			return err
		}
		j.Account, j.Generation = to, numbers[j.Generation]
		if err := t.putJob(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// moveDeployments brings the deployments of both accounts together. What both
// know is what was seen later.
func (t *txn) moveDeployments(ctx context.Context, from, to pam.UID, fromNumbers, toNumbers renumbering) error {
	merged := map[key]pam.Deployment{}
	for _, side := range []struct {
		account pam.UID
		numbers renumbering
	}{{to, toNumbers}, {from, fromNumbers}} {
		ds, err := all[pam.Deployment](ctx, t, groupDeployment, side.account)
		if err != nil {
			return err
		}
		for _, d := range ds {
			k, err := t.deploymentKey(d)
			if err != nil {
				return err
			}
			if err := t.drop(ctx, k); err != nil {
				return err
			}
			d = completed(d)
			d.Account, d.Generation, d.Held = to, side.numbers[d.Generation], side.numbers[d.Held]
			if k, err = t.deploymentKey(d); err != nil {
				return err
			}
			if known, ok := merged[k]; !ok || d.Seen.After(known.Seen) {
				merged[k] = d
			}
		}
	}
	for k, d := range merged {
		if err := t.put(ctx, k, d); err != nil {
			return err
		}
	}
	return nil
}

// moveUsers points the records of one account to another. All records of the
// other are written again too: their password may have become another.
func (t *txn) moveUsers(ctx context.Context, from, to pam.UID) error {
	users, err := t.users(ctx, from)
	if err != nil {
		return err
	}
	for _, user := range users {
		if err := t.drop(ctx, ownedKey(groupUser, from, string(user))); err != nil {
			return err
		}
		if err := t.link(ctx, to, user); err != nil {
			return err
		}
	}
	if err := t.repointTrash(ctx, from, to); err != nil {
		return err
	}
	return t.touchUsers(ctx, to, "")
}
