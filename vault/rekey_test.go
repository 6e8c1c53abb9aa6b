package vault_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// rekey replaces the key of an open vault, keeping what the secrets open, and
// opens it again.
func rekey(t *testing.T, v *vault.Vault, dir string, o vault.Options, secrets ...string) *vault.Vault {
	t.Helper()
	r, err := v.BeginRekey(t.Context())
	must(t, err)
	defer r.Close()
	for _, s := range secrets {
		kept, err := r.Offer(word(s))
		must(t, err)
		if len(kept) == 0 {
			t.Fatalf("%s opens nothing", s)
		}
	}
	key, err := r.Run(t.Context())
	must(t, err)
	defer key.Destroy()
	again, err := vault.Open(t.Context(), dir, key, o)
	must(t, err)
	t.Cleanup(func() { _ = again.Close() })
	return again
}

// everything is all that a vault says of itself, as JSON.
func everything(t *testing.T, v *vault.Vault) string {
	t.Helper()
	ctx := t.Context()
	var all []any
	keep := func(doc any, err error) {
		t.Helper()
		must(t, err)
		all = append(all, doc)
	}
	heads, err := v.Heads(ctx)
	keep(heads, err)
	accounts := map[pam.UID]bool{}
	for _, h := range heads {
		history, err := v.History(ctx, h.UID)
		must(t, err)
		for _, r := range history {
			keep(revealed(r), nil)
		}
		mappings, err := v.Mappings(ctx, h.UID)
		keep(mappings, err)
		if _, a, err := v.User(ctx, h.UID); err == nil {
			accounts[a.UID] = true
			keep(a, nil)
			keep(vault.Passwords(ctx, v, a.UID), nil)
			ds, err := v.Deployments(ctx, a.UID)
			keep(ds, err)
		}
	}
	trash, err := v.Trash(ctx)
	keep(trash, err)
	jobs, err := v.Jobs(ctx)
	must(t, err)
	for _, j := range jobs {
		whole, err := v.Job(ctx, j.ID)
		keep(whole, err)
		steps, err := v.Steps(ctx, j.ID)
		keep(steps, err)
		plans, err := v.RestartPlans(ctx, j.ID)
		keep(plans, err)
	}
	discoveries, err := v.Discoveries(ctx)
	keep(discoveries, err)
	text, err := json.Marshal(all)
	must(t, err)
	return string(text)
}

// revealed is a record with its secrets in plain text.
func revealed(r pam.Record) map[string]any {
	m := map[string]any{"head": r.Head, "notes": r.Notes}
	for _, f := range r.Fields {
		m[f.Type+"."+f.Label] = []any{f.Values, f.Parts, string(f.Secret.Reveal())}
	}
	return m
}

// filled is a vault with something of every kind in it, and its user.
func filled(t *testing.T, o vault.Options) (v *vault.Vault, dir string, user pam.UID) {
	t.Helper()
	ctx := t.Context()
	v, dir = createWith(t, o)
	folder, err := v.AddFolder(ctx, "F", "")
	must(t, err)
	user, machine := rotatable(t, v, "svc")
	other := userRecord("other", "other", "pw")
	other.Folder = folder
	must(t, v.DeleteRecord(ctx, add(t, v, other)))
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: machine, Kinds: pam.MapAll}))
	rotated(t, v, user, machine, "S-1-5-21-7", "DC")
	found, err := v.SaveDiscovery(ctx, pam.Discovery{})
	must(t, err)
	must(t, v.SaveFinding(ctx, found.ID, pam.Finding{Machine: machine, Title: "DC"}))
	return v, dir, user
}

func TestRekeyKeepsEverythingAndCanGoOn(t *testing.T) {
	t.Parallel()
	o := options()
	o.AnchorDir = filepath.Join(t.TempDir(), "anchors")
	v, dir, user := filled(t, o)
	ctx := t.Context()
	before, was := everything(t, v), v.Key()
	trail, err := v.Audit(ctx)
	must(t, err)
	soundBefore, err := v.Check(ctx)
	must(t, err)

	v = rekey(t, v, dir, o, testPassphrase)
	if v.FirstSeen() {
		t.Error("its own computer sees it for the first time")
	}
	if now := everything(t, v); now != before {
		t.Errorf("before %s\nafter %s", before, now)
	}
	sound, err := v.Check(ctx)
	must(t, err)
	if sound.Rows != soundBefore.Rows+1 || sound.Generation != soundBefore.Generation+2 {
		t.Errorf("before %+v, after %+v", soundBefore, sound)
	}
	longer, err := v.Audit(ctx)
	must(t, err)
	last := longer[len(longer)-1]
	if len(longer) != len(trail)+1 || longer[0] != trail[0] || last.Action != "vault.rekey" || last.Detail != "kept passphrase" {
		t.Errorf("the trail ends with %+v", last)
	}
	if now := v.Key(); now.Equal(was) {
		t.Error("the key is the old one")
	}
	// What is found by a blind index is found, and more can be done.
	again := newJob(t, v, user)
	account, err := v.Identify(ctx, again.Account, pam.Identity{Alias: "S-1-5-21-7", SID: "S-1-5-21-7"})
	if err != nil || account.UID != again.Account {
		t.Errorf("the identity is another account's: %+v, %v", account, err)
	}
	_, err = v.Open(ctx, again.ID, pam.Plan{})
	must(t, err)
	must(t, v.RequestCancel(ctx, again.ID))
	v = rekey(t, v, dir, o, testPassphrase) // and once more
	_, err = v.Check(ctx)
	must(t, err)
}

func TestARekeyLocksOutWhoHasTheOldKey(t *testing.T) {
	t.Parallel()
	v, dir, _ := filled(t, options())
	old := v.Key()
	other, err := openAgain(t, dir)
	must(t, err)
	rekey(t, v, dir, options(), testPassphrase)
	_, err = other.AddRecord(t.Context(), userRecord("late", "late", "late"))
	wants(t, err, pam.ErrConflict, "the vault's key was replaced meanwhile; nothing changed", "keyturn logout, then keyturn login")
	_, err = other.Heads(t.Context())
	wants(t, err, pam.ErrConflict, "replaced meanwhile")
	wants(t, other.ChangePassphrase(t.Context(), word(testPassphrase), word("x"), 0), pam.ErrConflict, "replaced meanwhile")
	wants(t, other.Backup(t.Context(), filepath.Join(t.TempDir(), "b.tar")), pam.ErrConflict, "replaced meanwhile")
	_, err = vault.Open(t.Context(), dir, old, options())
	wants(t, err, pam.ErrLocked, "the key is not this vault's")
}

func TestARekeyClosesSlotsThatNothingWasOfferedFor(t *testing.T) {
	t.Parallel()
	v, dir, _ := filled(t, options())
	ctx := t.Context()
	file := strings.Repeat("k", 40)
	_, err := v.AddSlot(ctx, vault.ByKeyFile, word(file), 0)
	must(t, err)
	_, err = v.AddSlot(ctx, vault.ByPassphrase, word("another"), 19*1024)
	must(t, err)
	code, id, err := v.NewRecovery(ctx)
	must(t, err)
	r, err := v.BeginRekey(ctx)
	must(t, err)
	defer r.Close()
	_, err = r.Run(ctx)
	wants(t, err, pam.ErrLocked, "nothing that was given opens a key slot", "nothing changed")
	if kept, err := r.Offer(word("wrong")); err != nil || len(kept) != 0 {
		t.Errorf("a wrong one keeps %v, %v", kept, err)
	}
	kept, err := r.Offer(code)
	if err != nil || len(kept) != 1 || kept[0].Old != id {
		t.Errorf("the code keeps %v, %v", kept, err)
	}
	_, err = r.Offer(word(file))
	must(t, err)
	lost := r.Lost()
	if len(lost) != 2 || lost[0].Kind != "passphrase" || lost[1].Kind != "passphrase" {
		t.Errorf("left behind are %+v", lost)
	}
	_, err = r.Run(ctx)
	must(t, err)
	for by, with := range map[vault.Way]secret.Value{vault.ByKeyFile: word(file), vault.ByRecovery: code, vault.ByPassphrase: code} {
		if by == vault.ByRecovery {
			continue // a code is typed in the place of a passphrase
		}
		key, _, err := vault.Unlock(ctx, dir, by, with)
		must(t, err)
		v, err := vault.Open(ctx, dir, key, options())
		must(t, err)
		must(t, v.Close())
	}
	for _, phrase := range []string{testPassphrase, "another"} {
		_, err = vault.UnlockKey(ctx, dir, word(phrase))
		wants(t, err, pam.ErrLocked)
	}
}

func TestARekeyIsRefusedWhileAJobHasNotEnded(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user, _ := rotatable(t, v, "svc")
	r, err := v.BeginRekey(t.Context())
	must(t, err)
	defer r.Close()
	_, err = r.Offer(word(testPassphrase))
	must(t, err)
	j := newJob(t, v, user)
	_, err = r.Run(t.Context()) // it was made meanwhile
	wants(t, err, pam.ErrConflict, string(j.ID), "nothing changed", "job-info")
	_, err = v.BeginRekey(t.Context())
	wants(t, err, pam.ErrConflict, string(j.ID), "queued")
	j.State = pam.JobOpen
	must(t, v.SetJob(t.Context(), j))
	_, err = v.BeginRekey(t.Context())
	wants(t, err, pam.ErrConflict, "is open", "resume "+string(j.ID))
	add(t, v, userRecord("goes", "on", "x")) // with the old key
}

func TestARekeyIsRefusedWhenTheSlotsWereChangedMeanwhile(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	r, err := v.BeginRekey(t.Context())
	must(t, err)
	defer r.Close()
	_, err = r.Offer(word(testPassphrase))
	must(t, err)
	must(t, v.ChangePassphrase(t.Context(), word(testPassphrase), word("next"), 19*1024))
	_, err = r.Run(t.Context())
	wants(t, err, pam.ErrConflict, "key slots were changed meanwhile; nothing changed")
	_, err = vault.UnlockKey(t.Context(), dir, word("next"))
	must(t, err)
}

// A vault that was changed outside is not made whole by sealing it anew.
func TestARekeyCoversNothingUp(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a row is missing":           `DELETE FROM rows WHERE kind = 1`,
		"a row is another's":         `UPDATE rows SET sealed = (SELECT sealed FROM rows WHERE kind = 7) WHERE kind = 5`,
		"a row is damaged":           `UPDATE rows SET sealed = zeroblob(300) WHERE kind = 15`,
		"an audit entry is missing":  `DELETE FROM rows WHERE kind = 18 AND id = '000000000003'`,
		"a row of no kind is there":  `UPDATE rows SET kind = 99 WHERE kind = 20`,
		"an unlisted row is renamed": `UPDATE rows SET id = 'AAAAAAAAAAAAAAAAAAAAAA' WHERE kind = 14`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, dir, _ := filled(t, options())
			b := &bench{dir: dir}
			b.exec(t, change)
			r, err := v.BeginRekey(t.Context())
			must(t, err)
			defer r.Close()
			_, err = r.Offer(word(testPassphrase))
			must(t, err)
			key, err := r.Run(t.Context())
			if err == nil || !key.IsZero() {
				t.Fatal("it is sealed anew")
			}
			if _, err := os.Stat(filepath.Join(dir, "header.next")); err == nil {
				t.Error("the next header is left behind")
			}
			if _, err := openAgain(t, dir); err != nil {
				t.Errorf("it does not open as before: %v", err)
			}
		})
	}
}

// blobs returns the nonces of everything sealed in a vault's database: 24 random
// bytes that are nowhere else.
func blobs(t *testing.T, dir string) [][]byte {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "vault.db"))
	must(t, err)
	defer func() { must(t, db.Close()) }()
	rs, err := db.Query(`SELECT substr(sealed, 1, 24) FROM rows UNION ALL SELECT substr(sealed, 1, 24) FROM meta
		UNION ALL SELECT substr(sealed, 1, 24) FROM manifest WHERE page < 256`)
	must(t, err)
	defer rs.Close() //nolint:errcheck // only read
	var found [][]byte
	for rs.Next() {
		var b []byte
		must(t, rs.Scan(&b))
		found = append(found, b)
	}
	must(t, rs.Err())
	return found
}

// found counts which of the blobs lie anywhere in the files of a folder.
func found(t *testing.T, dir string, blobs [][]byte) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	var all []byte
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil { // not a folder
			all = append(all, b...)
		}
	}
	for _, b := range blobs {
		if bytes.Contains(all, b) {
			n++
		}
	}
	return n
}

func TestARekeyLeavesNothingThatTheOldKeyOpens(t *testing.T) {
	t.Parallel()
	v, dir, user := filled(t, options())
	for range 300 { // pages come and go
		must(t, v.AuditReveal(t.Context(), user, "password"))
	}
	for range 40 {
		uid := add(t, v, userRecord("gone", "gone", "gone"))
		must(t, v.DeleteRecord(t.Context(), uid))
		must(t, v.Purge(t.Context(), []pam.UID{uid}))
	}
	old := blobs(t, dir)
	if n := found(t, dir, old); n != len(old) || n < 300 {
		t.Fatalf("%d of %d blobs are found before", n, len(old))
	}
	other, err := openAgain(t, dir) // another process, which keeps the log from being removed
	must(t, err)
	v = rekey(t, v, dir, options(), testPassphrase)
	if n := found(t, dir, old); n != 0 {
		t.Errorf("%d of %d blobs of the old key are in the files", n, len(old))
	}
	var free int
	must(t, vault.Query(t.Context(), v, `PRAGMA freelist_count`, &free))
	if free != 0 {
		t.Errorf("%d pages are free", free)
	}
	must(t, other.Close())
	must(t, v.Close())
	if now := blobs(t, dir); found(t, dir, now) != len(now) || len(now) < 300 {
		t.Error("the search finds nothing")
	}
}

// A copy from before, on the computer that saw the new key, is older: reading only.
func TestACopyFromBeforeARekeyIsAnOlderOne(t *testing.T) {
	t.Parallel()
	o := options()
	o.AnchorDir = filepath.Join(t.TempDir(), "anchors")
	v, dir, user := filled(t, o)
	must(t, v.Close())
	older := copyOf(t, dir)
	must(t, rekey(t, reopen(t, dir, o), dir, o, testPassphrase).Close())
	v = reopen(t, older, o)
	if got := passwordOf(t, v, user); got != "second" {
		t.Errorf("it cannot be read: %q", got)
	}
	_, err := v.AddRecord(t.Context(), userRecord("x", "x", "x"))
	wants(t, err, pam.ErrConflict, "not the newest", "another key", "--accept-rollback")
	_, err = v.BeginRekey(t.Context())
	wants(t, err, pam.ErrConflict, "not the newest")
	must(t, v.AcceptRollback(t.Context()))
	add(t, v, userRecord("x", "x", "x"))
	must(t, v.Close())
	if v := reopen(t, older, o); v.FirstSeen() {
		t.Error("accepting is forgotten")
	}
}

// cutRekey leaves a vault as a rekey does that died at some instant.
func cutRekey(t *testing.T, at string) (dir string, before string) {
	t.Helper()
	v, dir, _ := filled(t, options())
	before = everything(t, v)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	must(t, vault.CutRekey(ctx, v, word(testPassphrase), at))
	return dir, before
}

func TestARekeyThatWasCutOffIsDoneOrNotDone(t *testing.T) {
	t.Parallel()
	for at, done := range map[string]bool{"announced": false, "torn": false, "sealed": true, "named": true} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			dir, before := cutRekey(t, at)
			ctx := t.Context()
			left := snapshot(t, dir)
			_, err := vault.UnlockKey(ctx, dir, word("wrong"))
			wants(t, err, pam.ErrLocked, "wrong master password")
			if after := snapshot(t, dir); !equalMaps(left, after) {
				t.Error("a wrong password touches something")
			}
			v, err := openAgain(t, dir)
			must(t, err)
			if everything(t, v) != before {
				t.Error("something else is in it")
			}
			_, err = v.Check(ctx)
			must(t, err)
			trail, err := v.Audit(ctx)
			must(t, err)
			if did := slices.ContainsFunc(trail, func(e vault.AuditEntry) bool { return e.Action == "vault.rekey" }); did != done {
				t.Errorf("it counts as done: %t", did)
			}
			if _, err := os.Stat(filepath.Join(dir, "header.next")); err == nil {
				t.Error("the next header is left")
			}
			if vault.Unclean(v) {
				t.Error("pages of the old key are left")
			}
			must(t, v.ChangePassphrase(ctx, word(testPassphrase), word(testPassphrase), 19*1024))
			v = rekey(t, v, dir, options(), testPassphrase)
			_, err = v.Check(ctx)
			must(t, err)
		})
	}
}

func equalMaps(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// Whose slot was closed is told so, also by a rekey that was cut off after the
// vault had its new key.
func TestAClosedSlotOpensNothingOfACutRekey(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	_, err := v.AddSlot(t.Context(), vault.ByPassphrase, word("another"), 19*1024)
	must(t, err)
	old := v.Key()
	must(t, vault.CutRekey(t.Context(), v, word("another"), "sealed"))
	_, err = vault.UnlockKey(t.Context(), dir, word(testPassphrase))
	wants(t, err, pam.ErrLocked, "this way in was closed")
	_, err = vault.Open(t.Context(), dir, old, options())
	wants(t, err, pam.ErrLocked, "the key is not this vault's")
	key, err := vault.UnlockKey(t.Context(), dir, word("another"))
	must(t, err)
	v, err = vault.Open(t.Context(), dir, key, options())
	must(t, err)
	must(t, v.Close())
}
