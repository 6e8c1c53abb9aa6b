package vault

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // the database driver

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// ID is the UID of the vault in dir, as its header says: nothing of it is proven
// before the vault is open.
func ID(dir string) (pam.UID, error) {
	h, err := readHeader(dir)
	return pam.UID(h.Vault), err
}

// Open opens the vault in dir with its key, which it copies. ErrLocked when the
// key is not this vault's; ErrConflict when a newer program wrote it, or when its
// key is replaced at that moment.
func Open(ctx context.Context, dir string, key secret.Value, o Options) (*Vault, error) {
	if err := o.check(dir); err != nil {
		return nil, err
	}
	h, err := headerFor(ctx, dir, key)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(dir, databaseFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, pam.Errorf(pam.ErrIO, "%s is missing from the vault", databaseFile).WithHint("restore the vault from a backup")
	}
	if err := checkDatabase(dir); err != nil {
		return nil, err
	}
	v, err := newVault(ctx, dir, databaseFile, h, key, o)
	if err != nil {
		return nil, err
	}
	err = v.firstLook(ctx)
	if noRoom(err) { // no process has it open, so that no rotation under way needs the ballast
		v.makeRoom(ctx)
		err = v.firstLook(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	v.endRekey(ctx)
	return v, nil
}

// check looks at what a vault in dir would be opened or made with.
func (o Options) check(dir string) error {
	if o.Now == nil || o.Random == nil {
		return pam.Errorf(pam.ErrInternal, "vault options: a clock and a source of randomness are required")
	}
	return o.checkPlace(dir)
}

// newVault opens the database file called name in dir; it reads nothing yet.
func newVault(ctx context.Context, dir, name string, h seal.Header, key secret.Value, o Options) (*Vault, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "find the vault folder: %w", err)
	}
	box, err := seal.NewBox(key, h.Vault)
	if err != nil {
		return nil, sealError("open the vault", err)
	}
	v := &Vault{
		dir: abs, id: pam.UID(h.Vault), epoch: h.Epoch, slots: h.Kinds(),
		box: box, now: o.Now, random: o.Random, actor: o.Actor,
	}
	if v.anchorage, err = o.anchorage(key, h.Vault); err != nil {
		return nil, errors.Join(sealError("open the vault", err), v.Close())
	}
	path := filepath.Join(abs, name)
	if v.writer, err = sql.Open("sqlite", forWriter(path)); err != nil {
		return nil, errors.Join(dbError(ctx, "open the vault", err), v.Close())
	}
	// One writer in this process: SQLite has one writer anyway, and here they queue fairly.
	v.writer.SetMaxOpenConns(1)
	if v.reader, err = sql.Open("sqlite", forReader(path)); err != nil {
		return nil, errors.Join(dbError(ctx, "open the vault", err), v.Close())
	}
	v.reader.SetMaxOpenConns(4)
	return v, nil
}

// What every connection does: ten seconds of patience, and nothing in the schema
// trusted. The write-ahead log is a property of the database since it was made.
var always = []string{"busy_timeout(10000)", "trusted_schema(0)", "cell_size_check(1)", "temp_store(2)"}

// forWriter syncs each commit to the disk, overwrites deleted content, and holds
// 64 MiB of pages, in KiB: rows of a large import fall anywhere in the index, and
// what does not fit is read again for each.
func forWriter(path string) string {
	return dsn(path, "immediate", "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(1)", "cache_size(-65536)")
}

// forReader holds half a MiB of pages: rows are sealed under random names, so that
// a list of them meets a page that it had before only by chance. A statement more
// is time in each short command.
func forReader(path string) string { return dsn(path, "deferred", "query_only(1)", "cache_size(-512)") }

func dsn(path, txlock string, pragmas ...string) string {
	q := url.Values{"mode": {"rw"}, "_txlock": {txlock}, "_defensive": {"1"}, "_dqs": {"0"}}
	q["_pragma"] = slices.Concat(always, pragmas)
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	u := url.URL{Scheme: "file", Path: slashed, RawQuery: q.Encode()}
	return u.String()
}

// firstLook looks at the vault as it is at one moment: whether this program can
// read it, whether key and database belong together, and whether it is the newest
// copy that this computer saw.
func (v *Vault) firstLook(ctx context.Context) error {
	last := v.anchorage.read() // before that moment, which is never older then
	return v.within(ctx, v.reader, "open the vault", func(t *txn) error {
		if err := t.checkFormat(ctx); err != nil {
			return err
		}
		if err := t.readMeta(ctx, 0); err != nil {
			return err
		}
		v.see(t.meta.Generation)
		v.unclean.Store(t.meta.Scrub)
		return t.checkAnchor(ctx, last)
	})
}

// checkFormat refuses a database of another program or a newer one.
func (t *txn) checkFormat(ctx context.Context) error {
	var app, version int
	if err := t.db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return err
	}
	if err := t.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case app != applicationID:
		return pam.Errorf(pam.ErrIO, "%s is not a Keyturn database", databaseFile)
	case version > schemaVersion:
		return errNewer()
	case version < firstVersion:
		return pam.Errorf(pam.ErrIO, "%s has the unknown format %d", databaseFile, version)
	}
	t.v.older.Store(version < schemaVersion)
	return t.checkSchema(ctx)
}

// checkSchema refuses a database in which anything but our tables answers: a trigger
// of somebody else's could undo what is written, an audit entry or a password that is
// about to be sent, and the write would look as if it had worked.
func (t *txn) checkSchema(ctx context.Context) error {
	var found string
	err := t.db.QueryRowContext(ctx, `SELECT coalesce(group_concat(type || ' ' || name, ', '), '')
		FROM (SELECT type, name FROM sqlite_schema ORDER BY type, name)`).Scan(&found)
	if err != nil {
		return err
	}
	if found != schemaObjects {
		return tampered("its tables are not those of a vault")
	}
	return nil
}

// Close closes the vault and destroys its key.
func (v *Vault) Close() error {
	v.box.Destroy()
	v.anchorage.key.Destroy()
	var errs []error
	for _, db := range []*sql.DB{v.reader, v.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return pam.Errorf(pam.ErrIO, "close the vault: %w", err)
	}
	return nil
}
