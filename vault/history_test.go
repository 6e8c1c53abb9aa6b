package vault_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// states are a record's revisions, the newest first, as "title/login/password".
func states(t *testing.T, v *vault.Vault, uid pam.UID) string {
	t.Helper()
	history, err := v.History(t.Context(), uid)
	must(t, err)
	defer vault.DestroyHistory(history)
	all := make([]string, len(history))
	for i, r := range history {
		all[i] = r.Title + "/" + r.Text("login", "") + "/"
		if f := r.Field("password", ""); f != nil {
			all[i] += string(f.Secret.Reveal())
		}
	}
	return strings.Join(all, " ")
}

// change edits a record.
func change(t *testing.T, v *vault.Vault, uid pam.UID, edit func(*pam.Record)) {
	t.Helper()
	r, err := v.Record(t.Context(), uid)
	must(t, err)
	edit(&r)
	must(t, v.UpdateRecord(t.Context(), r))
}

// revision returns the number of the n-th newest revision, 0 being the current one.
func revision(t *testing.T, v *vault.Vault, uid pam.UID, n int) int64 {
	t.Helper()
	history, err := v.History(t.Context(), uid)
	must(t, err)
	return history[n].Revision
}

func rotate(t *testing.T, v *vault.Vault, user pam.UID, password string) {
	t.Helper()
	j := newJob(t, v, user)
	_, err := v.Stage(t.Context(), j.ID, j.Account, word(password), pam.Evidence{})
	must(t, err)
	must(t, v.Commit(t.Context(), j.ID, pam.VerdictRight))
	j.State = pam.JobFinished
	must(t, v.SetJob(t.Context(), j))
}

func TestEveryRevisionIsKeptWithThePasswordOfThen(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user, _ := rotatable(t, v, "svc")
	change(t, v, user, func(r *pam.Record) { r.Title = "renamed" })
	rotate(t, v, user, "second")
	change(t, v, user, func(r *pam.Record) { r.Field("password", "").Secret = word("typed") })
	want := `renamed/LAB\svc/typed renamed/LAB\svc/second renamed/LAB\svc/first-svc svc/LAB\svc/first-svc`
	if got := states(t, v, user); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	login := add(t, v, pam.Record{Head: pam.Head{Title: "l", Type: pam.TypeLogin}, Fields: []pam.Field{{Type: "password", Secret: word("a")}}})
	change(t, v, login, func(r *pam.Record) { r.Fields[0].Secret = word("b") })
	if got := states(t, v, login); got != "l//b l//a" {
		t.Errorf("a login record: %s", got)
	}
	must(t, v.RestoreRevision(t.Context(), login, revision(t, v, login, 1), vault.RestoreOptions{}))
	if got := states(t, v, login); got != "l//a l//b l//a" {
		t.Errorf("a login record has its password for itself: %s", got)
	}
}

// Two records of one account become one account: each keeps what it showed.
func TestAMergeKeepsWhatTheRecordsShowed(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	a, _ := rotatable(t, v, "a")
	b, _ := rotatable(t, v, "b")
	_, accountOfB, err := v.User(t.Context(), b)
	must(t, err)
	for _, user := range []pam.UID{a, b} {
		_, account, err := v.User(t.Context(), user)
		must(t, err)
		_, err = v.Identify(t.Context(), account.UID, pam.Identity{Alias: "S-1", SID: "S-1"})
		must(t, err)
	}
	if got := states(t, v, a); !strings.HasSuffix(got, "/first-a") {
		t.Errorf("a: %s", got)
	}
	if got := states(t, v, b); !strings.HasSuffix(got, "/first-b") {
		t.Errorf("b: %s", got)
	}
	if _, err := v.Generation(t.Context(), accountOfB.UID, pam.Current); err == nil {
		t.Error("the accounts were not merged")
	}
}

func TestRestoringAPamUserLeavesItsCredentialAlone(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	change(t, v, user, func(r *pam.Record) { r.Title, r.Field("password", "").Secret = "new", word("second") })
	first := revision(t, v, user, 1)
	must(t, v.RestoreRevision(ctx, user, first, vault.RestoreOptions{}))
	if got := states(t, v, user); !strings.HasPrefix(got, `svc/LAB\svc/second new/`) {
		t.Errorf("without the password: %s", got)
	}
	must(t, v.RestoreRevision(ctx, user, first, vault.RestoreOptions{Password: true}))
	_, account, err := v.User(ctx, user)
	must(t, err)
	if got := vault.Passwords(ctx, v, account.UID); !slices.Equal(got, []string{"first-svc", "second", "first-svc"}) {
		t.Errorf("the generations are %v", got)
	}
	wants(t, v.RestoreRevision(ctx, user, 999, vault.RestoreOptions{}), pam.ErrNotFound, "no revision 999")
	wants(t, v.RestoreRevision(ctx, user, revision(t, v, user, 0), vault.RestoreOptions{}), pam.ErrInvalidInput, "is now")
	wants(t, v.RestoreRevision(ctx, "nosuch", 1, vault.RestoreOptions{}), pam.ErrNotFound)

	// While a job holds the account, only what is no credential can be restored.
	change(t, v, user, func(r *pam.Record) { r.Title, r.Field("password", "").Secret = "newer", word("third") })
	j := newJob(t, v, user)
	wants(t, v.RestoreRevision(ctx, user, first, vault.RestoreOptions{Password: true}), pam.ErrConflict, string(j.ID))
	if got := states(t, v, user); !strings.HasPrefix(got, `newer/LAB\svc/third `) {
		t.Errorf("the refused restore changed something: %s", got)
	}
	must(t, v.RestoreRevision(ctx, user, first, vault.RestoreOptions{}))
}

func TestARestoredLoginNamesItsAccountAgain(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	_, before, err := v.User(ctx, user)
	must(t, err)
	change(t, v, user, func(r *pam.Record) {
		r.Field("login", "").Values = []string{`LAB\another`}
		r.Field("password", "").Secret = word("other")
	})
	moved := revision(t, v, user, 1)
	j := newJob(t, v, user)
	wants(t, v.RestoreRevision(ctx, user, moved, vault.RestoreOptions{}), pam.ErrConflict, string(j.ID))
	j.State = pam.JobCancelled
	must(t, v.SetJob(ctx, j))
	must(t, v.RestoreRevision(ctx, user, moved, vault.RestoreOptions{}))
	_, after, err := v.User(ctx, user)
	if err != nil || after.UID != before.UID {
		t.Errorf("the record names %s instead of %s, %v", after.UID, before.UID, err)
	}
	if got := passwordOf(t, v, user); got != "first-svc" {
		t.Errorf("its password is %s", got)
	}
}

func TestPruningKeepsTheNewest(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user := add(t, v, userRecord("0", "u", "p"))
	for _, title := range []string{"1", "2", "3"} {
		change(t, v, user, func(r *pam.Record) { r.Title = title })
	}
	if n, err := v.PruneHistory(t.Context(), user, 1); n != 2 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	if got := states(t, v, user); got != "3/u/p 2/u/p" {
		t.Errorf("got %s", got)
	}
	if n, err := v.PruneHistory(t.Context(), user, 1); n != 0 || err != nil {
		t.Errorf("pruned %d more, %v", n, err)
	}
}

// A vault from before there was a history has none, and begins one.
func TestAVaultOfTheFirstFormatBeginsAHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "locks"), 0o700))
	copyFiles(t, frozen[1], dir)
	v, err := openAgain(t, dir)
	must(t, err)
	h, err := v.Find(t.Context(), "svc_app", "")
	must(t, err)
	if got := states(t, v, h.UID); got != `svc_app/LAB\svc_app/second` {
		t.Errorf("got %s", got)
	}
	change(t, v, h.UID, func(r *pam.Record) { r.Title, r.Field("password", "").Secret = "new", word("third") })
	if got := states(t, v, h.UID); got != `new/LAB\svc_app/third svc_app/LAB\svc_app/second` {
		t.Errorf("got %s", got)
	}
	must(t, v.DeleteRecord(t.Context(), h.UID))
	_, err = v.RestoreRecord(t.Context(), h.UID)
	must(t, err)
	_, err = v.Check(t.Context())
	must(t, err)
}

func TestARevisionThatIsMissingIsNoticed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v, err := openAgain(t, b.dir)
	must(t, err)
	change(t, v, b.user, func(r *pam.Record) { r.Title = "new" })
	must(t, v.DeleteRecord(t.Context(), b.other))
	must(t, v.Close())
	b.exec(t, `DELETE FROM rows WHERE kind IN (21, 22)`)
	v, err = openAgain(t, b.dir)
	must(t, err)
	_, err = v.History(t.Context(), b.user)
	wants(t, err, pam.ErrDenied)
	_, err = v.Trash(t.Context())
	wants(t, err, pam.ErrDenied)
	_, err = v.Check(t.Context())
	wants(t, err, pam.ErrDenied)
}

// Whatever is done to a record, its history is all that it was, in order; a
// record that was in the trash is what it was before.
func TestTheHistoryIsWhatHappened(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	rapid.Check(t, func(r *rapid.T) {
		user := add(t, v, userRecord("t0", "u", "p0"))
		title, password := "t0", "p0"
		titles, want := []string{title}, []string{"t0/u/p0"} // newest first; a title may hold the "/"
		for range rapid.IntRange(0, 8).Draw(r, "steps") {
			switch rapid.IntRange(0, 3).Draw(r, "step") {
			case 0:
				title = "t" + rapid.StringN(1, 3, 9).Draw(r, "title")
				change(t, v, user, func(rec *pam.Record) { rec.Title = title })
			case 1:
				password += "x"
				change(t, v, user, func(rec *pam.Record) { rec.Field("password", "").Secret = word(password) })
			case 2:
				must(t, v.DeleteRecord(t.Context(), user))
				_, err := v.RestoreRecord(t.Context(), user)
				must(t, err)
			case 3:
				n := rapid.IntRange(0, len(want)-1).Draw(r, "which")
				if n == 0 {
					continue
				}
				must(t, v.RestoreRevision(t.Context(), user, revision(t, v, user, n), vault.RestoreOptions{}))
				title = titles[n]
			}
			titles = append([]string{title}, titles...)
			want = append([]string{title + "/u/" + password}, want...)
		}
		if got := states(t, v, user); got != strings.Join(want, " ") {
			r.Fatalf("got  %q\nwant %q", got, strings.Join(want, " "))
		}
	})
}
