package vault

import (
	"context"
	"encoding/json"
	"errors"

	"keyturn/pkg/pam"
)

// resealBatch is how many rows are in memory at once while the key is replaced.
const resealBatch = 256

// A placed row is a row with its place in the table.
type placedRow struct {
	row
	rowid int64
}

// resealRows seals every row with the key of n, with the revision that it has.
// All that the manifest lists must be there, so that no loss is covered up.
func (t *txn) resealRows(ctx context.Context, n *txn) error {
	want := 0
	err := t.eachPage(ctx, func(_ int, p *page) {
		p.each("", func([]byte, int64) { want++ })
	})
	if err != nil {
		return err
	}
	aliases, err := t.newAliases(ctx, n)
	if err != nil {
		return err
	}
	listed := 0
	for last := int64(-1); ; {
		batch, err := t.placed(ctx, last)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			break
		}
		for _, r := range batch {
			if err := t.resealRow(ctx, n, r, aliases); err != nil {
				return err
			}
			if r.group.listed() {
				listed++
			}
			last = r.rowid
		}
	}
	if listed != want {
		return tampered("there are %d of %d rows", listed, want)
	}
	return nil
}

// placed reads the rows after a place.
func (t *txn) placed(ctx context.Context, after int64) (batch []placedRow, err error) {
	s, err := t.statement(ctx, `SELECT rowid, kind, owner, id, revision, sealed FROM rows WHERE rowid > ? ORDER BY rowid LIMIT ?`)
	if err != nil {
		return nil, err
	}
	rs, err := s.QueryContext(ctx, after, resealBatch)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rs.Close()) }()
	for rs.Next() {
		var r placedRow
		if err := rs.Scan(&r.rowid, &r.group, &r.owner, &r.id, &r.revision, &r.sealed); err != nil {
			return nil, err
		}
		if r.group < groupHead || r.group > lastGroup {
			return nil, tampered("there is a row of kind %d", r.group)
		}
		batch = append(batch, r)
	}
	return batch, rs.Err()
}

func (t *txn) resealRow(ctx context.Context, n *txn, r placedRow, aliases map[string]string) error {
	if err := t.check(ctx, r.row, true); err != nil {
		return err
	}
	plain, err := t.v.box.Open(r.sealed, t.v.ad(r.row))
	if err != nil {
		return sealError(r.String(), err)
	}
	defer clear(plain)
	text, secrets, err := cutFrame(plain)
	if err != nil {
		return pam.Errorf(pam.ErrIO, "%s: %w", r.key, err)
	}
	defer destroy(secrets)
	id, err := t.renamed(n, r.row, text, aliases)
	if err != nil {
		return err
	}
	if id != r.id { // apart, since it costs the indexes too
		if err := t.rewrite(ctx, `UPDATE rows SET id = ? WHERE rowid = ?`, id, r.rowid); err != nil {
			return err
		}
		r.id = id
	}
	filled := layFrame(text, r.group.secrets(secrets))
	defer clear(filled)
	if r.sealed, err = n.v.box.Seal(n.v.random, filled, n.v.ad(r.row)); err != nil {
		return sealError(r.String(), err)
	}
	if err := t.rewrite(ctx, `UPDATE rows SET sealed = ? WHERE rowid = ?`, r.sealed, r.rowid); err != nil {
		return err
	}
	return n.list(ctx, r.key, r.revision)
}

func (t *txn) rewrite(ctx context.Context, query string, args ...any) error {
	s, err := t.statement(ctx, query)
	if err == nil {
		_, err = s.ExecContext(ctx, args...)
	}
	return err
}

// renamed returns a row's id under the next key: that of a blind index is another.
func (t *txn) renamed(n *txn, r row, text []byte, aliases map[string]string) (id string, err error) {
	var old string
	switch r.group {
	case groupAlias:
		old, id = r.id, aliases[r.id]
	case groupItem:
		var i pam.Item
		if err = json.Unmarshal(text, &i); err == nil {
			old, id, err = bothIDs(t, n, func(v *Vault) (string, error) { return v.itemID(pam.UID(r.owner), i) })
		}
	case groupDeployment:
		var d pam.Deployment
		if err = json.Unmarshal(text, &d); err == nil {
			old, id, err = bothIDs(t, n, func(v *Vault) (string, error) { return v.deploymentID(d) })
		}
	default:
		return r.id, nil
	}
	if err != nil {
		return "", pam.Errorf(pam.ErrIO, "%s: %w", r.key, err)
	}
	if old != r.id || id == "" {
		return "", pam.Errorf(pam.ErrInternal, "%s stands under a name that is not its own; nothing changed", r.key)
	}
	return id, nil
}

func bothIDs(t, n *txn, of func(*Vault) (string, error)) (old, id string, err error) {
	if old, err = of(t.v); err == nil {
		id, err = of(n.v)
	}
	return old, id, err
}

// newAliases returns the id that each alias gets, by the one it has. An alias does
// not say whose it is in words; the account does.
func (t *txn) newAliases(ctx context.Context, n *txn) (map[string]string, error) {
	accounts, err := all[pam.Account](ctx, t, groupAccount, every)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, a := range accounts {
		if a.Identity == "" {
			continue
		}
		old, id, err := bothIDs(t, n, func(v *Vault) (string, error) { return v.aliasID(a.Identity) })
		if err != nil {
			return nil, err
		}
		ids[old] = id
	}
	return ids, nil
}
