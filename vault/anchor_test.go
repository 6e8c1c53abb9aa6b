package vault_test

import (
	"os"
	"path/filepath"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// anchored is a vault whose anchor is kept, and a copy of its files.
func anchored(t *testing.T) (o vault.Options, dir string, user pam.UID) {
	t.Helper()
	o = options()
	o.AnchorDir = filepath.Join(t.TempDir(), "state", "anchors")
	v, dir := createWith(t, o)
	user, _ = rotatable(t, v, "svc")
	must(t, v.Close())
	return o, dir, user
}

// copyOf copies a closed vault.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(to, os.DirFS(dir)))
	must(t, os.Chmod(to, 0o700))
	for _, name := range []string{"header", "vault.db"} {
		must(t, os.Chmod(filepath.Join(to, name), 0o600))
	}
	return to
}

func reopen(t *testing.T, dir string, o vault.Options) *vault.Vault {
	t.Helper()
	key, err := vault.UnlockKey(t.Context(), dir, word(testPassphrase))
	must(t, err)
	defer key.Destroy()
	v, err := vault.Open(t.Context(), dir, key, o)
	must(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func TestAnOlderCopyIsForReadingOnly(t *testing.T) {
	t.Parallel()
	o, dir, user := anchored(t)
	ctx := t.Context()
	older := copyOf(t, dir)
	newest := reopen(t, dir, o)
	if newest.FirstSeen() {
		t.Error("its own maker sees it for the first time")
	}
	add(t, newest, userRecord("later", "later", "x"))
	must(t, newest.Close())

	v := reopen(t, older, o)
	if got := passwordOf(t, v, user); got == "" {
		t.Error("it cannot be read")
	}
	_, err := v.AddRecord(ctx, userRecord("x", "x", "x"))
	wants(t, err, pam.ErrConflict, "not the newest", "nothing changed", "reading only")
	again := reopen(t, dir, o) // the newer one is as good as ever
	add(t, again, userRecord("more", "more", "x"))
	must(t, again.AcceptRollback(ctx)) // nothing to accept
	must(t, again.Close())

	must(t, v.AcceptRollback(ctx))
	add(t, v, userRecord("y", "y", "x"))
	gens, err := v.Generation(ctx, newJob(t, v, user).Account, pam.Current)
	if err != nil || !gens.Unverified {
		t.Errorf("the password counts as verified: %v", err)
	}
	must(t, v.VerifyAudit(ctx))
	must(t, v.Close())

	// Now the other one has another history, however new it is.
	other := reopen(t, dir, o)
	_, err = other.AddRecord(ctx, userRecord("z", "z", "x"))
	wants(t, err, pam.ErrConflict, "another history")
}

func TestAnAnchorNeverFailsAChange(t *testing.T) {
	t.Parallel()
	o, dir, _ := anchored(t)
	must(t, os.RemoveAll(o.AnchorDir))
	must(t, os.WriteFile(o.AnchorDir, []byte("a file in its place"), 0o600))
	v := reopen(t, dir, o)
	if !v.FirstSeen() {
		t.Error("it was seen before")
	}
	add(t, v, userRecord("x", "x", "x"))
}

func TestAForgedAnchorIsNone(t *testing.T) {
	t.Parallel()
	o, dir, _ := anchored(t)
	files, err := filepath.Glob(filepath.Join(o.AnchorDir, "*.anchor"))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("anchors: %v", files)
	}
	b, err := os.ReadFile(files[0])
	must(t, err)
	for i := range b {
		b[i] ^= 1
		must(t, os.WriteFile(files[0], b, 0o600))
		b[i] ^= 1
		if i%16 == 0 { // the whole of it takes a while
			v := reopen(t, dir, o)
			if !v.FirstSeen() {
				t.Errorf("byte %d: it is believed", i)
			}
			must(t, v.Close())
		}
	}
}

// Who has the vault's key can make the audit trail anew. The trail is whole in itself
// then; a computer that saw the true one knows that it is another.
func TestAForgedAuditTrailIsNoticedWhereTheTrueOneWasSeen(t *testing.T) {
	t.Parallel()
	o, dir, _ := anchored(t)
	forged := copyOf(t, dir)
	elsewhere := o
	elsewhere.AnchorDir = ""
	v := reopen(t, forged, elsewhere)
	must(t, v.ForgeAudit(t.Context(), 1, "nothing happened"))
	must(t, v.VerifyAudit(t.Context()))
	must(t, v.Close())
	v = reopen(t, forged, o)
	wants(t, v.Behind(), pam.ErrConflict, "another history")
}

func TestACopyIsTriedWithAnAnchorOfItsOwn(t *testing.T) {
	t.Parallel()
	o, dir, _ := anchored(t)
	older := copyOf(t, dir)
	newest := reopen(t, dir, o)
	add(t, newest, userRecord("later", "later", "x"))
	must(t, newest.Close())

	err := reopen(t, older, o).Behind()
	wants(t, err, pam.ErrConflict, "it was seen in "+dir+" in state")

	tried := o
	tried.Anchor = filepath.Join(t.TempDir(), "tried.anchor")
	trial := reopen(t, older, tried)
	if !trial.FirstSeen() {
		t.Error("an anchor of its own has seen it before")
	}
	add(t, trial, userRecord("trial", "trial", "x"))
	must(t, trial.Close())
	if again := reopen(t, older, tried); again.FirstSeen() || again.Behind() != nil {
		t.Errorf("its own anchor was not kept: %v", again.Behind())
	}
	if err := reopen(t, dir, o).Behind(); err != nil {
		t.Errorf("the trial got in the way of the vault in use: %v", err)
	}
}

func TestAFileThatIsNoAnchorIsLeftAlone(t *testing.T) {
	t.Parallel()
	o, dir, _ := anchored(t)
	key, err := vault.UnlockKey(t.Context(), dir, word(testPassphrase))
	must(t, err)
	defer key.Destroy()
	o.Anchor = filepath.Join(t.TempDir(), "notes.txt")
	const notes = "what somebody wrote, long enough to be an anchor's seal"
	must(t, os.WriteFile(o.Anchor, []byte(notes), 0o600))
	_, err = vault.Open(t.Context(), dir, key, o)
	wants(t, err, pam.ErrInvalidInput, "no anchor of this vault", "nothing was done")
	_, err = vault.Create(t.Context(), t.TempDir(), secret.New([]byte(testPassphrase)), o)
	wants(t, err, pam.ErrConflict, "nothing changed")
	if b, err := os.ReadFile(o.Anchor); err != nil || string(b) != notes {
		t.Errorf("the file holds %q, %v", b, err)
	}
	o.Anchor = filepath.Join(t.TempDir(), "missing", "x.anchor")
	must(t, os.WriteFile(filepath.Dir(o.Anchor), nil, 0o600))
	_, err = vault.Open(t.Context(), dir, key, o)
	wants(t, err, pam.ErrIO, "nothing was done")
}
