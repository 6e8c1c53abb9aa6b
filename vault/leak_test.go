package vault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf16"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// encodings are the forms in which a word could lie in a file.
func encodings(word string) map[string][]byte {
	utf := []byte{}
	for _, c := range utf16.Encode([]rune(word)) {
		utf = append(utf, byte(c), byte(c>>8))
	}
	forms := map[string][]byte{"plain": []byte(word), "UTF-16": utf, "hex": []byte(hex.EncodeToString([]byte(word)))}
	for shift := range 3 { // where in a longer text it stood
		padded := append(bytes.Repeat([]byte{'x'}, shift), word...)
		coded := base64.StdEncoding.EncodeToString(padded)
		if core := coded[4 : len(coded)-4]; len(core) > 4 { // less is found by chance
			forms[fmt.Sprintf("base64 %d", shift)] = []byte(core)
		}
	}
	return forms
}

func grep(t *testing.T, dir string, words []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, w := range words {
			for form, bs := range encodings(w) {
				if bytes.Contains(b, bs) {
					t.Errorf("%s holds %q (%s)", filepath.Base(path), w, form)
				}
			}
		}
		return nil
	}))
}

func TestNothingCanBeReadInTheFiles(t *testing.T) {
	t.Parallel()
	o := options()
	o.Actor = "CANARY-actor"
	c := newClock()
	o.Now = c.Now
	v, dir := createWith(t, o)
	ctx := t.Context()
	folder, err := v.AddFolder(ctx, "CANARY-folder", "")
	must(t, err)
	m := machineRecord("CANARY-machine", "CANARY-host", "Windows")
	m.Notes, m.Folder = "CANARY-notes", folder
	m.Fields = append(m.Fields, pam.Field{Type: "CANARY-type", Label: "CANARY-label", Values: []string{"CANARY-value"}})
	machine := add(t, v, m)
	user := add(t, v, userRecord("CANARY-user", "CANARY-login", "CANARY-password"))
	add(t, v, pam.Record{Head: pam.Head{Title: "CANARY-other", Type: pam.TypeLogin}, Fields: []pam.Field{
		{Type: "secret", Label: "privatePEMKey", Secret: word("CANARY-key")},
	}})
	must(t, v.SetRotation(ctx, pam.RotationSettings{User: user, Resource: machine, Complexity: "CANARY-complexity"}))
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: machine, Kinds: pam.MapAll}))
	j := newJob(t, v, user)
	_, err = v.Identify(ctx, j.Account, pam.Identity{Alias: "CANARY-alias", SID: "CANARY-sid"})
	must(t, err)
	item := pam.Item{Machine: machine, MachineTitle: "CANARY-machine", Kind: pam.KindService, Name: "CANARY-service", Status: pam.StatusFailed}
	_, err = v.Open(ctx, j.ID, pam.Plan{Items: []pam.Item{item}})
	must(t, err)
	_, err = v.Stage(ctx, j.ID, j.Account, word("CANARY-generated"), pam.Evidence{Mark: "CANARY-evidence"})
	must(t, err)
	must(t, v.SetOutcome(ctx, j.ID, pam.OutcomeApplied, pam.Evidence{Mark: "CANARY-after"}))
	d := pam.Deployment{Account: j.Account, Machine: machine, Kind: pam.KindService, Name: "CANARY-service", Status: "CANARY-status"}
	must(t, v.SaveSteps(ctx, []pam.Step{{Job: j.ID, Item: item, Deployment: &d}}))
	must(t, v.SaveRestartPlan(ctx, j.ID, pam.RestartPlan{Machine: machine, Stops: []pam.Stop{{Name: "CANARY-stopped"}}}))
	must(t, v.Commit(ctx, j.ID, pam.VerdictRight))
	j.State, j.Message, j.Hint = pam.JobPartial, "CANARY-message", "CANARY-hint"
	must(t, v.SetJob(ctx, j))
	must(t, v.AuditReveal(ctx, user, "CANARY-field"))
	l, err := v.LockAccount(ctx, j.Account)
	must(t, err)
	t.Cleanup(func() { _ = l.Release() })

	words := []string{
		testPassphrase, "CANARY-", "Embedded", "Local Network", "record.add", "partial", "right", "applied", "current", "pamUser",
		"service", "Windows", c.Now().Format("2006-01-02"), c.Now().Format(time.DateOnly + "T"), string(v.Key().Reveal()),
	}
	wal, err := os.Stat(filepath.Join(dir, "vault.db-wal"))
	if err != nil || wal.Size() == 0 {
		t.Fatalf("there is no write-ahead log to look into: %v", err)
	}
	grep(t, dir, words)
	must(t, v.Close())
	grep(t, dir, words)
	// The search itself works: what is known to be there is found.
	b, err := os.ReadFile(filepath.Join(dir, "vault.db"))
	if err != nil || !bytes.Contains(b, encodings(string(user))["plain"]) {
		t.Errorf("the UID of a record is not found: %v", err)
	}
}

// snapshot is what a folder holds, with the time of each change.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := []byte{}
		if !d.IsDir() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		files[path] = fmt.Sprintf("%s %s %x", info.Mode(), info.ModTime(), content)
		return nil
	}))
	return files
}

func TestAWrongPasswordTouchesNothing(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	add(t, v, userRecord("a", "a", "a"))
	must(t, v.Close())
	before := snapshot(t, dir)
	_, err := vault.UnlockKey(t.Context(), dir, word("wrong"))
	wants(t, err, pam.ErrLocked, "wrong master password")
	_, err = vault.UnlockKey(t.Context(), dir, word(""))
	wants(t, err, pam.ErrLocked)
	_, err = vault.Open(t.Context(), dir, word("0123456789abcdef0123456789abcdef"), options())
	wants(t, err, pam.ErrLocked)
	_, err = vault.Open(t.Context(), dir, word("short"), options())
	wants(t, err, pam.ErrLocked)
	after := snapshot(t, dir)
	for path, want := range before {
		if after[path] != want {
			t.Errorf("%s was touched", path)
		}
	}
	if len(after) != len(before) {
		t.Errorf("there were %d files, now %d", len(before), len(after))
	}
}
