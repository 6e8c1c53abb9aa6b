package vault_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// A bench is a small vault with something of everything in it.
type bench struct {
	dir                string
	user, other, srv   pam.UID
	account            pam.UID
	job                pam.UID
	folder             pam.UID
	oldHead, oldSecret []byte // the first head of user, and its first credential
}

func newBench(t *testing.T) *bench {
	t.Helper()
	v, dir := create(t)
	b := &bench{dir: dir}
	var err error
	b.folder, err = v.AddFolder(t.Context(), "F", "")
	must(t, err)
	b.user, b.srv = rotatable(t, v, "svc")
	b.other = add(t, v, userRecord("other", "other", "pw"))
	_, a, err := v.User(t.Context(), b.user)
	must(t, err)
	b.account = a.UID
	b.job = newJob(t, v, b.user).ID
	must(t, v.RequestCancel(t.Context(), b.job))
	must(t, v.SetMapping(t.Context(), pam.Mapping{User: b.user, Machine: b.srv, Kinds: pam.MapAll}))
	must(t, v.Close())
	b.sql(t, func(db *sql.DB) {
		must(t, db.QueryRow(`SELECT sealed FROM rows WHERE kind = 1 AND id = ?`, b.user).Scan(&b.oldHead))
		must(t, db.QueryRow(`SELECT sealed FROM rows WHERE kind = 4 AND owner = ?`, b.account).Scan(&b.oldSecret))
	})
	return b
}

// sql works on the database behind the vault's back.
func (b *bench) sql(t *testing.T, work func(*sql.DB)) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(b.dir, "vault.db"))
	must(t, err)
	work(db)
	must(t, db.Close())
}

func (b *bench) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	b.sql(t, func(db *sql.DB) {
		r, err := db.Exec(statement, args...)
		must(t, err)
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			t.Fatalf("%s changed nothing, %v", statement, err)
		}
	})
}

// readAll reads the vault from end to end and returns what went wrong.
func (b *bench) readAll(t *testing.T) error {
	t.Helper()
	v, err := openAgain(t, b.dir)
	if err != nil {
		return err
	}
	ctx := t.Context()
	_, heads := v.Heads(ctx)
	_, user := v.Record(ctx, b.user)
	_, other := v.Record(ctx, b.other)
	_, folders := v.Folders(ctx)
	_, jobs := v.Jobs(ctx)
	_, current := v.Generation(ctx, b.account, pam.Current)
	_, mappings := v.AllMappings(ctx)
	_, rotations := v.Rotations(ctx)
	return errors.Join(heads, user, other, folders, jobs, current, mappings, rotations, v.Close())
}

func TestWhatIsChangedOutsideIsNoticed(t *testing.T) {
	t.Parallel()
	update := func(t *testing.T, b *bench) { // a new state, whose former rows are put back later
		t.Helper()
		v, err := openAgain(t, b.dir)
		must(t, err)
		r, err := v.Record(t.Context(), b.user)
		must(t, err)
		r.Title = "renamed"
		r.Field("password", "").Secret = word("second")
		must(t, v.UpdateRecord(t.Context(), r))
		must(t, v.Close())
	}
	for name, change := range map[string]func(*testing.T, *bench){
		"a record's head is deleted":     does(`DELETE FROM rows WHERE kind = 1 AND id = 'USER'`),
		"a record's body is deleted":     does(`DELETE FROM rows WHERE kind = 2 AND id = 'USER'`),
		"a whole record is deleted":      does(`DELETE FROM rows WHERE kind < 3 AND id = 'OTHER'`),
		"a credential is deleted":        does(`DELETE FROM rows WHERE kind = 4 AND owner = 'ACCOUNT'`),
		"a job is deleted":               does(`DELETE FROM rows WHERE kind = 13`),
		"a mapping is deleted":           does(`DELETE FROM rows WHERE kind = 12`),
		"rotation settings are deleted":  does(`DELETE FROM rows WHERE kind = 10`),
		"a folder is deleted":            does(`DELETE FROM rows WHERE kind = 7`),
		"a row moves to another kind":    does(`UPDATE rows SET kind = 8 WHERE kind = 7`),
		"a row moves to another record":  does(`UPDATE rows SET id = 'x' WHERE kind = 1 AND id = 'USER'`),
		"two records are swapped":        swap,
		"a byte of a row is flipped":     flip(`SELECT id, sealed FROM rows WHERE kind = 2`, `UPDATE rows SET sealed = ? WHERE kind = 2 AND id = ?`),
		"a byte of a page is flipped":    flip(`SELECT page, sealed FROM manifest WHERE page < 256`, `UPDATE manifest SET sealed = ? WHERE page = ?`),
		"a byte of the index is flipped": flip(`SELECT page, sealed FROM manifest WHERE page = 256`, `UPDATE manifest SET sealed = ? WHERE page = ?`),
		"a byte of the meta is flipped":  flip(`SELECT id, sealed FROM meta`, `UPDATE meta SET sealed = ? WHERE id = ?`),
		"the manifest is deleted":        does(`DELETE FROM manifest`),
		"the meta row is deleted":        does(`DELETE FROM meta`),
		"the generation is set back":     does(`UPDATE meta SET generation = generation - 1`),
		"the epoch is changed":           does(`UPDATE meta SET epoch = 7`),
		"a revision is changed":          does(`UPDATE rows SET revision = revision + 1 WHERE kind = 1`),
		"another program's database":     does(`PRAGMA application_id = 1`),
		"an old head is put back": func(t *testing.T, b *bench) {
			t.Helper()
			update(t, b)
			b.exec(t, `UPDATE rows SET sealed = ? WHERE kind = 1 AND id = ?`, b.oldHead, b.user)
		},
		"the newest credential is deleted": func(t *testing.T, b *bench) {
			t.Helper()
			update(t, b)
			b.exec(t, `DELETE FROM rows WHERE kind = 4 AND owner = ? AND id = '000000000002'`, b.account)
		},
		"an old credential is put back": func(t *testing.T, b *bench) {
			t.Helper()
			update(t, b)
			b.exec(t, `UPDATE rows SET sealed = ? WHERE kind = 4 AND owner = ? AND id = '000000000002'`, b.oldSecret, b.account)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			must(t, b.readAll(t))
			change(t, b)
			err := b.readAll(t)
			if !errors.Is(err, pam.ErrDenied) && !errors.Is(err, pam.ErrIO) && !errors.Is(err, pam.ErrConflict) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// does runs a statement in which USER, OTHER and ACCOUNT stand for UIDs.
func does(statement string) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		t.Helper()
		names := strings.NewReplacer("USER", string(b.user), "OTHER", string(b.other), "ACCOUNT", string(b.account))
		b.sql(t, func(db *sql.DB) {
			_, err := db.Exec(names.Replace(statement))
			must(t, err)
		})
	}
}

func swap(t *testing.T, b *bench) {
	t.Helper()
	b.exec(t, `UPDATE rows SET id = 'x' WHERE kind = 2 AND id = ?`, b.user)
	b.exec(t, `UPDATE rows SET id = ? WHERE kind = 2 AND id = ?`, b.user, b.other)
	b.exec(t, `UPDATE rows SET id = ? WHERE kind = 2 AND id = 'x'`, b.other)
}

func flip(query, update string) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		t.Helper()
		b.sql(t, func(db *sql.DB) {
			rows, err := db.Query(query)
			must(t, err)
			sealed := map[any][]byte{}
			for rows.Next() {
				var id any
				var s []byte
				must(t, rows.Scan(&id, &s))
				s[len(s)/2] ^= 1
				sealed[id] = s
			}
			must(t, errors.Join(rows.Err(), rows.Close()))
			for id, s := range sealed {
				_, err := db.Exec(update, s, id)
				must(t, err)
			}
		})
	}
}

func TestAnOlderCopyUnderAnOpenVaultIsNoticed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	path := filepath.Join(b.dir, "vault.db")
	old, err := os.ReadFile(path)
	must(t, err)
	v, err := openAgain(t, b.dir)
	must(t, err)
	_, err = v.AddFolder(t.Context(), "new", "")
	must(t, err)
	b.sql(t, func(db *sql.DB) { // as a restore tool would do it: the former content in the live file
		before, err := sql.Open("sqlite", writeTemp(t, old))
		must(t, err)
		var generation int64
		var sealed []byte
		must(t, before.QueryRow(`SELECT generation, sealed FROM meta`).Scan(&generation, &sealed))
		must(t, before.Close())
		_, err = db.Exec(`UPDATE meta SET generation = ?, sealed = ?`, generation, sealed)
		must(t, err)
	})
	_, err = v.Heads(t.Context())
	wants(t, err, pam.ErrDenied, "older")
}

func writeTemp(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	must(t, os.WriteFile(path, b, 0o600))
	return path
}

func TestANewerVaultIsRefusedPolitely(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.sql(t, func(db *sql.DB) {
		_, err := db.Exec(`PRAGMA user_version = 3`)
		must(t, err)
	})
	_, err := openAgain(t, b.dir)
	wants(t, err, pam.ErrConflict, "a newer Keyturn wrote this vault")
	path := filepath.Join(b.dir, "header")
	header, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.Replace(header, []byte("keyturn-vault 1\n"), []byte("keyturn-vault 2\nwho knows"), 1), 0o600))
	_, err = openAgain(t, b.dir)
	wants(t, err, pam.ErrConflict, "a newer Keyturn wrote this vault")
}

func TestTheAuditTrail(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v, err := openAgain(t, b.dir)
	must(t, err)
	must(t, v.AuditReveal(t.Context(), b.user, "password"))
	must(t, v.VerifyAudit(t.Context()))
	entries, err := v.Audit(t.Context())
	must(t, err)
	last := entries[len(entries)-1]
	if entries[0].Action != "vault.create" || last.Action != "record.reveal" || last.Object != b.user || last.Detail != "password" ||
		last.Actor != "tester" || last.Number != int64(len(entries)) {
		t.Errorf("got %+v", entries)
	}
	must(t, v.Close())
	for name, change := range map[string]string{
		"an entry is deleted":  `DELETE FROM rows WHERE kind = 18 AND id = '000000000003'`,
		"the last is deleted":  `DELETE FROM rows WHERE kind = 18 AND id = (SELECT max(id) FROM rows WHERE kind = 18)`,
		"an entry is repeated": `INSERT INTO rows SELECT kind, owner, '000000009999', revision, sealed FROM rows WHERE kind = 18 AND id = '000000000003'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.exec(t, change)
			v, err := openAgain(t, b.dir)
			must(t, err)
			wants(t, v.VerifyAudit(t.Context()), pam.ErrDenied, "audit")
		})
	}
}

func TestARolledBackAuditEntryIsNoticed(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	add(t, v, userRecord("a", "a", "a"))
	for name, edit := range map[string]func(*vault.AuditForgery){
		"the text":  func(f *vault.AuditForgery) { f.Detail = "forged" },
		"the actor": func(f *vault.AuditForgery) { f.Actor = "forged" },
	} {
		must(t, vault.ForgeAudit(t.Context(), v, 2, edit))
		if err := v.VerifyAudit(t.Context()); !errors.Is(err, pam.ErrDenied) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
