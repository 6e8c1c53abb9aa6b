package vault

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// account reads an account; its authority is what its resource's record says now.
func (t *txn) account(ctx context.Context, uid pam.UID) (pam.Account, error) {
	a, found, err := load[pam.Account](ctx, t, rowKey(groupAccount, uid))
	if err != nil {
		return a, err
	}
	if !found {
		return a, pam.Errorf(pam.ErrNotFound, "there is no account %s", uid)
	}
	a.Authority, err = t.authority(ctx, a.Resource)
	return a, err
}

// authority is the kind of authority that a resource is; unknown when there is
// no such machine or its system is not one of ours.
func (t *txn) authority(ctx context.Context, resource pam.UID) (pam.AuthorityKind, error) {
	if resource == "" {
		return pam.AuthorityUnknown, nil
	}
	r, found, err := t.record(ctx, resource)
	if err != nil || !found {
		return pam.AuthorityUnknown, err
	}
	defer r.Destroy()
	return authorityOf(r), nil
}

// newAccount makes an account for a login.
func (t *txn) newAccount(ctx context.Context, name string, resource pam.UID) (pam.UID, error) {
	uid, err := t.newUID()
	if err != nil {
		return "", err
	}
	return uid, t.put(ctx, rowKey(groupAccount, uid), pam.Account{UID: uid, Name: name, Resource: resource})
}

// users returns the records that name the account.
func (t *txn) users(ctx context.Context, account pam.UID) ([]pam.UID, error) {
	rows, err := t.rows(ctx, groupUser, account)
	users := make([]pam.UID, len(rows))
	for i, r := range rows {
		users[i] = pam.UID(r.id)
	}
	return users, err
}

// link notes that a record names the account.
func (t *txn) link(ctx context.Context, account, user pam.UID) error {
	return t.put(ctx, ownedKey(groupUser, account, string(user)), struct{}{})
}

// history returns all generations of an account, oldest number first. The caller
// destroys the passwords.
func (t *txn) history(ctx context.Context, account pam.UID) ([]pam.Generation, error) {
	rows, err := t.rows(ctx, groupCredential, account)
	if err != nil {
		return nil, err
	}
	history := make([]pam.Generation, 0, len(rows))
	for _, r := range rows {
		var g pam.Generation
		secrets, err := t.open(r, &g)
		if err == nil && len(secrets) != 1 {
			err = pam.Errorf(pam.ErrIO, "%s has %d passwords", r.key, len(secrets))
		}
		if err != nil {
			destroy(secrets)
			destroyHistory(history)
			return nil, err
		}
		g.Password = secrets[0]
		history = append(history, g)
	}
	return history, nil
}

func destroyHistory(history []pam.Generation) {
	for _, g := range history {
		g.Password.Destroy()
	}
}

// newest returns the newest generation of a status with a password of its own;
// found is false when there is none.
func (t *txn) newest(ctx context.Context, account pam.UID, status pam.GenerationStatus) (g pam.Generation, found bool, err error) {
	history, err := t.history(ctx, account)
	if err != nil {
		return g, false, err
	}
	defer destroyHistory(history)
	for _, h := range slices.Backward(history) {
		if h.Status == status {
			h.Password = h.Password.Clone()
			return h, true, nil
		}
	}
	return g, false, nil
}

func (t *txn) putGeneration(ctx context.Context, g pam.Generation) error {
	return t.put(ctx, ownedKey(groupCredential, g.Account, number(int64(g.Number))), g, g.Password)
}

// addGeneration appends a generation to an account's history.
func (t *txn) addGeneration(ctx context.Context, g pam.Generation) (pam.Generation, error) {
	last, err := t.lastNumber(ctx, g.Account)
	if err != nil {
		return g, err
	}
	g.Number, g.Created = last+1, t.v.now().UTC()
	return g, t.putGeneration(ctx, g)
}

// lastNumber returns the highest number of an account's generations, 0 for none.
func (t *txn) lastNumber(ctx context.Context, account pam.UID) (int, error) {
	rows, err := t.rows(ctx, groupCredential, account)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	n, err := strconv.Atoi(rows[len(rows)-1].id)
	if err != nil {
		return 0, pam.Errorf(pam.ErrIO, "%s has no number: %w", rows[len(rows)-1].key, err)
	}
	return n, nil
}

// takeOver makes a pending generation of an earlier job another job's. It moves
// to the end of the history if passwords were typed since it was made: what
// becomes current has the highest number, which is how machines that hold an
// older one are found.
func (t *txn) takeOver(ctx context.Context, g pam.Generation, job pam.UID) (pam.Generation, error) {
	last, err := t.lastNumber(ctx, g.Account)
	if err != nil {
		return g, err
	}
	if g.Number != last {
		if err := t.drop(ctx, ownedKey(groupCredential, g.Account, number(int64(g.Number)))); err != nil {
			return g, err
		}
		g.Number = last + 1
	}
	g.Job = job
	return g, t.putGeneration(ctx, g)
}

// retire makes the current generation a previous one. The records that show it
// are kept as they are until now.
func (t *txn) retire(ctx context.Context, account pam.UID) error {
	if err := t.archiveUsers(ctx, account); err != nil {
		return err
	}
	g, found, err := t.newest(ctx, account, pam.Current)
	if err != nil || !found {
		return err
	}
	defer g.Password.Destroy()
	g.Status = pam.Previous
	return t.putGeneration(ctx, g)
}

// setManual makes a password that a person typed the current one.
func (t *txn) setManual(ctx context.Context, account pam.UID, password secret.Value) error {
	if err := t.retire(ctx, account); err != nil {
		return err
	}
	_, err := t.addGeneration(ctx, pam.Generation{
		Account: account, Status: pam.Current, Source: pam.SourceManual, Password: password,
	})
	return err
}

// notHeld is ErrConflict, naming the job, while a job that has not ended holds
// the account.
func (t *txn) notHeld(ctx context.Context, account pam.UID, what string) error {
	j, err := t.holder(ctx, account)
	if err != nil || j == nil {
		return err
	}
	state, hint := j.State, fmt.Sprintf("keyturn pam action job-info %s --wait", j.ID)
	if alone, err := t.v.abandoned(*j); err != nil || alone {
		state = pam.JobOpen
		hint = fmt.Sprintf("its process is gone: keyturn pam action resume %s ends it; while nothing is changed, job-cancel drops it", j.ID)
	}
	return pam.Errorf(pam.ErrConflict, "%s: job %s holds account %s (%s); nothing changed", what, j.ID, j.AccountName, state).
		WithHint("%s", hint)
}
