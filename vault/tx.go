package vault

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// A key names one sealed row.
type key struct {
	group group
	owner string
	id    string
}

func rowKey(g group, id pam.UID) key { return key{group: g, id: string(id)} }

func ownedKey(g group, owner pam.UID, id string) key {
	return key{group: g, owner: string(owner), id: id}
}

func (k key) String() string { return k.group.name() + " " + k.owner + "/" + k.id }

// A row is one sealed row as it is in the database.
type row struct {
	key
	revision int64
	sealed   []byte
}

// A txn is one transaction. Reads see one moment of the vault; writes appear
// all at once. A txn belongs to one goroutine.
type txn struct {
	v       *Vault
	db      *sql.Tx
	meta    meta
	index   []byte // page hashes, loaded with the first page
	pages   map[int]*page
	shelves map[int]*shelf
	writes  bool // made by update
	changed bool // meta must be written

	statements map[string]*sql.Stmt // prepared once for many rows; the transaction's end closes them
}

// statement prepares a query once.
func (t *txn) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := t.statements[query]; s != nil {
		return s, nil
	}
	s, err := t.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if t.statements == nil {
		t.statements = map[string]*sql.Stmt{}
	}
	t.statements[query] = s
	return s, nil
}

// view runs fn on one consistent moment of the vault.
func (v *Vault) view(ctx context.Context, fn func(*txn) error) error {
	seen := v.seen.Load()
	return v.transact(ctx, v.reader, seen, "read the vault", fn)
}

// update runs fn and commits what it wrote, durably, or nothing of it.
func (v *Vault) update(ctx context.Context, doing string, fn func(*txn) error) error {
	if v.behind != nil {
		return v.behind
	}
	seen := v.seen.Load()
	return v.transact(ctx, v.writer, seen, doing, func(t *txn) error {
		t.writes = true
		if err := t.upgrade(ctx); err != nil {
			return err
		}
		if err := t.makeCatalogue(ctx); err != nil {
			return err
		}
		if err := fn(t); err != nil {
			return err
		}
		if err := t.flush(ctx); err != nil {
			return err
		}
		if err := t.db.Commit(); err != nil {
			return err
		}
		v.older.Store(false)
		v.see(t.meta.Generation)
		if t.changed {
			v.drop(t.meta)
		}
		return nil
	})
}

// upgrade marks a database of an earlier version as one that this program
// writes, so that the earlier program refuses it politely.
func (t *txn) upgrade(ctx context.Context) error {
	if !t.v.older.Load() {
		return nil
	}
	_, err := t.db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion))
	return err
}

// transact is within, for a vault that is no older than what was seen of it.
func (v *Vault) transact(ctx context.Context, db *sql.DB, seen int64, doing string, fn func(*txn) error) error {
	return v.within(ctx, db, doing, func(t *txn) error {
		if err := t.readMeta(ctx, seen); err != nil {
			return err
		}
		return fn(t)
	})
}

// within runs fn in a transaction that knows nothing yet, and ends it: what fn did
// not commit is undone.
func (v *Vault) within(ctx context.Context, db *sql.DB, doing string, fn func(*txn) error) (err error) {
	tx, err := v.begin(ctx, db)
	if err != nil {
		return dbError(ctx, doing, err)
	}
	// After a commit this does nothing.
	defer func() {
		if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) && err == nil {
			err = dbError(ctx, doing, rerr)
		}
	}()
	t := &txn{v: v, db: tx, pages: map[int]*page{}}
	defer t.meta.destroy()
	return dbError(ctx, doing, fn(t))
}

// begin begins a transaction. Writers do it one after another, in turn.
func (v *Vault) begin(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
	if db == v.writer {
		if l := v.waitTurn(ctx); l != nil {
			defer l.Release() //nolint:errcheck // the descriptor is closed in any case
		}
	}
	return db.BeginTx(ctx, nil)
}

// see notes the newest state that this process knows, so that an older copy put
// in its place is noticed.
func (v *Vault) see(generation int64) {
	for {
		old := v.seen.Load()
		if generation <= old || v.seen.CompareAndSwap(old, generation) {
			return
		}
	}
}

// next is the revision of what this transaction writes. For rows that the
// manifest lists it never comes again, so that no former content fits in their
// place. Writes of unlisted rows alone leave the generation where it is.
func (t *txn) next() int64 { return t.meta.Generation + 1 }

func (v *Vault) ad(r row) []byte {
	return seal.AD("keyturn row", strconv.Itoa(seal.Version), string(v.id), r.group.name(), r.owner, r.id,
		strconv.FormatInt(r.revision, 10))
}

// fetch reads a row and checks it against the manifest.
func (t *txn) fetch(ctx context.Context, k key) (r row, found bool, err error) {
	r.key = k
	s, err := t.statement(ctx, `SELECT revision, sealed FROM rows WHERE kind = ? AND owner = ? AND id = ?`)
	if err != nil {
		return r, false, err
	}
	err = s.QueryRowContext(ctx, k.group, k.owner, k.id).Scan(&r.revision, &r.sealed)
	found = err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return r, false, err
	}
	return r, found, t.check(ctx, r, found)
}

// open decrypts a row into doc. The caller destroys the secrets.
func (t *txn) open(r row, doc any) ([]secret.Value, error) {
	plain, err := t.v.box.Open(r.sealed, t.v.ad(r))
	if err != nil {
		return nil, sealError(r.String(), err)
	}
	defer clear(plain)
	secrets, err := decodeFrame(plain, doc)
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "%s: %w", r.key, err)
	}
	return secrets, nil
}

// put writes a row.
func (t *txn) put(ctx context.Context, k key, doc any, secrets ...secret.Value) error {
	r := row{key: k, revision: t.next()}
	plain, err := encodeFrame(doc, k.group.secrets(secrets))
	if err != nil {
		return pam.Errorf(pam.ErrInternal, "%s: %w", k, err)
	}
	defer clear(plain)
	if r.sealed, err = t.v.box.Seal(t.v.random, plain, t.v.ad(r)); err != nil {
		return sealError(k.String(), err)
	}
	s, err := t.statement(ctx, `INSERT INTO rows (kind, owner, id, revision, sealed) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (kind, owner, id) DO UPDATE SET revision = excluded.revision, sealed = excluded.sealed`)
	if err != nil {
		return err
	}
	if _, err = s.ExecContext(ctx, k.group, k.owner, k.id, r.revision, r.sealed); err != nil {
		return err
	}
	return t.list(ctx, k, r.revision)
}

// drop removes a row, if it is there.
func (t *txn) drop(ctx context.Context, k key) error {
	if _, err := t.db.ExecContext(ctx, `DELETE FROM rows WHERE kind = ? AND owner = ? AND id = ?`, k.group, k.owner, k.id); err != nil {
		return err
	}
	return t.list(ctx, k, 0)
}

// every stands for all owners, and for the groups whose rows have none. It is
// no UID, so that an empty one never asks for what is somebody else's.
const every pam.UID = "*"

// rows returns a group's rows: of one owner, or of every one. They are ordered
// by owner and id, and complete by the manifest.
func (t *txn) rows(ctx context.Context, g group, owner pam.UID) ([]row, error) {
	var found []row
	err := t.each(ctx, g, owner, func(int) {}, func(r row) error {
		r.sealed = bytes.Clone(r.sealed)
		found = append(found, r)
		return nil
	})
	return found, err
}

// each calls begin with how many rows of a group the manifest lists (0 for a group
// that it does not list), of one owner or of every one, and fn with each of them,
// ordered by owner and id. What is sealed in it is for the call only, and so is
// the transaction not for fn. A row that is missing is noticed at the end: what fn
// made of the others is to be used only without an error.
func (t *txn) each(ctx context.Context, g group, owner pam.UID, begin func(n int), fn func(row) error) error {
	query, args := `SELECT owner, id, revision, sealed FROM rows WHERE kind = ?`, []any{g}
	if owner == "" {
		return pam.Errorf(pam.ErrInternal, "%s rows of nobody were asked for", g.name())
	}
	if owner != every {
		query += ` AND owner = ?`
		args = append(args, string(owner))
	}
	listed, err := t.roll(ctx, g, owner)
	if err != nil {
		return err
	}
	begin(listed.size)
	err = t.query(ctx, g, query+` ORDER BY owner, id`, args, func(r row) error {
		if err := listed.tick(r); err != nil {
			return err
		}
		return fn(r)
	})
	if err != nil {
		return err
	}
	return listed.complete()
}

// byID returns a group's rows of that id, whoever owns them.
func (t *txn) byID(ctx context.Context, g group, id pam.UID) ([]row, error) {
	var found []row
	const query = `SELECT owner, id, revision, sealed FROM rows WHERE kind = ? AND id = ? ORDER BY owner`
	err := t.query(ctx, g, query, []any{g, string(id)}, func(r row) error {
		r.sealed = bytes.Clone(r.sealed)
		found = append(found, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		if err := t.check(ctx, r, true); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// query calls fn with each row that it finds; what is sealed is for the call only.
func (t *txn) query(ctx context.Context, g group, query string, args []any, fn func(row) error) (err error) {
	s, err := t.statement(ctx, query)
	if err != nil {
		return err
	}
	rs, err := s.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rs.Close()) }()
	for rs.Next() {
		r := row{key: key{group: g}}
		if err := rs.Scan(&r.owner, &r.id, &r.revision, (*sql.RawBytes)(&r.sealed)); err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return rs.Err()
}

// load reads one row without secrets; found is false when there is none.
func load[T any](ctx context.Context, t *txn, k key) (doc T, found bool, err error) {
	r, found, err := t.fetch(ctx, k)
	if err != nil || !found {
		return doc, false, err
	}
	secrets, err := t.open(r, &doc)
	destroy(secrets)
	return doc, true, err
}

// all reads a group's rows without secrets, of one owner or of every one.
func all[T any](ctx context.Context, t *txn, g group, owner pam.UID) ([]T, error) {
	var docs []T
	begin := func(n int) { docs = make([]T, 0, n) }
	err := t.each(ctx, g, owner, begin, func(r row) error {
		var doc T
		secrets, err := t.open(r, &doc)
		destroy(secrets)
		docs = append(docs, doc)
		return err
	})
	if err != nil {
		return nil, err
	}
	return docs, nil
}

// number is how sequence numbers are written as ids: sorted as text they are in order.
func number(n int64) string { return fmt.Sprintf("%012d", n) }
