package vault_test

import (
	"archive/tar"
	"bytes"
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// backedUp is a vault with something in it, and its backup.
func backedUp(t *testing.T) (v *vault.Vault, user pam.UID, file string) {
	t.Helper()
	v, _ = create(t)
	user, _ = rotatable(t, v, "svc")
	newJob(t, v, user)
	file = filepath.Join(t.TempDir(), "backup.tar")
	must(t, v.Backup(t.Context(), file))
	return v, user, file
}

func TestABackupIsTheVaultOfOneMoment(t *testing.T) {
	t.Parallel()
	v, user, file := backedUp(t)
	want := passwordOf(t, v, user)
	add(t, v, userRecord("later", "later", "x"))
	info, err := os.Stat(file)
	must(t, err)
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	wants(t, v.Backup(t.Context(), file), pam.ErrConflict, "nothing was written")
	left, err := filepath.Glob(filepath.Dir(file) + "/*.new*")
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	f, err := os.Open(file)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	dir := filepath.Join(t.TempDir(), "again")
	must(t, vault.Restore(dir, f))
	again, err := openAgain(t, dir)
	must(t, err)
	if got := passwordOf(t, again, user); got != want {
		t.Errorf("the password is %q now", got)
	}
	heads, err := again.Heads(t.Context())
	must(t, err)
	if len(heads) != 2 {
		t.Errorf("%d records, want the 2 of the backup", len(heads))
	}
	if _, err := again.Check(t.Context()); err != nil {
		t.Error(err)
	}
	wants(t, vault.Restore(dir, f), pam.ErrConflict, "already")
}

func TestWhatIsNoBackupMakesNoVault(t *testing.T) {
	t.Parallel()
	_, _, file := backedUp(t)
	whole, err := os.ReadFile(file)
	must(t, err)
	member := func(names ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, n := range names {
			must(t, w.WriteHeader(&tar.Header{Name: n, Mode: 0o600, Size: 4, Typeflag: tar.TypeReg}))
			_, err := w.Write([]byte("junk"))
			must(t, err)
		}
		must(t, w.Close())
		return b.Bytes()
	}
	for name, file := range map[string][]byte{
		"nothing":              nil,
		"text":                 []byte(strings.Repeat("no tar at all ", 100)),
		"cut in the header":    whole[:600],
		"cut in the database":  whole[:len(whole)/2],
		"a path out of it":     member("../header", "vault.db"),
		"the wrong order":      member("vault.db", "header"),
		"a foreign header":     member("header", "vault.db"),
		"a file more":          append(bytes.Clone(whole[:len(whole)-1024]), member("more")...),
		"the header all alone": member("header"),
	} {
		dir := filepath.Join(t.TempDir(), "v")
		if err := vault.Restore(dir, bytes.NewReader(file)); err == nil {
			t.Errorf("%s: a vault was made", name)
		}
		if vault.Exists(dir) {
			t.Errorf("%s: there is a header", name)
		}
		found, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*"))
		if err != nil || len(found) != 1 {
			t.Errorf("%s: files outside: %v, %v", name, found, err)
		}
		v, err := vault.Create(t.Context(), dir, word("x"), options())
		if err != nil {
			t.Errorf("%s: what it left is in the way: %v", name, err)
			continue
		}
		must(t, v.Close())
	}
}

func TestACheckFindsWhatWasChangedOutside(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a row is gone":               `DELETE FROM rows WHERE kind = 4`,
		"a row has another's content": `UPDATE rows SET sealed = (SELECT sealed FROM rows WHERE kind = 2 LIMIT 1) WHERE kind = 1`,
		"an unlisted row is changed":  `UPDATE rows SET sealed = x'00' WHERE kind = 18 AND id = (SELECT max(id) FROM rows WHERE kind = 18)`,
		"the audit is cut":            `DELETE FROM rows WHERE kind = 18 AND id = (SELECT max(id) FROM rows WHERE kind = 18)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, dir := create(t)
			rotatable(t, v, "svc")
			c, err := v.Check(t.Context())
			must(t, err)
			if c.Records != 2 || c.Passwords != 1 || c.AuditEntries == 0 || c.Rows < 6 {
				t.Fatalf("%+v", c)
			}
			must(t, v.Close())
			db, err := sql.Open("sqlite", filepath.Join(dir, "vault.db"))
			must(t, err)
			_, err = db.ExecContext(t.Context(), change)
			must(t, err)
			must(t, db.Close())
			v, err = openAgain(t, dir)
			if err == nil {
				_, err = v.Check(t.Context())
			}
			wants(t, err, pam.ErrDenied, "outside of Keyturn")
		})
	}
}

func TestTheMasterPasswordChangesAtOnce(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	ctx := t.Context()
	old, err := os.ReadFile(filepath.Join(dir, "header"))
	must(t, err)
	wants(t, v.ChangePassphrase(ctx, word("not it"), word("next"), 19*1024), pam.ErrLocked, "nothing changed")
	wants(t, v.ChangePassphrase(ctx, word(testPassphrase), word("next"), 1), pam.ErrDenied)
	if now, err := os.ReadFile(filepath.Join(dir, "header")); err != nil || !bytes.Equal(now, old) {
		t.Errorf("a refused change wrote the header: %v", err)
	}
	// What a cut change left does not stand in the way.
	must(t, os.WriteFile(filepath.Join(dir, "header.new"), []byte("half"), 0o600))
	must(t, v.ChangePassphrase(ctx, word(testPassphrase), word("next"), 19*1024))
	_, err = vault.UnlockKey(ctx, dir, word(testPassphrase))
	wants(t, err, pam.ErrLocked)
	key, err := vault.UnlockKey(ctx, dir, word("next"))
	must(t, err)
	if !key.Equal(v.Key()) {
		t.Error("it is another key")
	}
	info, err := os.Lstat(filepath.Join(dir, "header"))
	if err != nil || runtime.GOOS != "windows" && info.Mode() != fs.FileMode(0o600) {
		t.Errorf("%v, %v", info, err)
	}
	must(t, v.VerifyAudit(ctx))
}
