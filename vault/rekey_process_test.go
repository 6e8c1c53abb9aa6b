//go:build !windows

package vault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// rekeyOften replaces the vault's key again and again until it is killed.
func rekeyOften(ctx context.Context, dir string) error {
	for {
		v, err := openOrCreate(ctx, dir)
		if err != nil {
			return err
		}
		r, err := v.BeginRekey(ctx)
		if err != nil {
			return err
		}
		if _, err := r.Offer(word(testPassphrase)); err != nil {
			return err
		}
		key, err := r.Run(ctx)
		if err != nil {
			return err
		}
		key.Destroy()
		r.Close()
		fmt.Println("rekeyed")
	}
}

func TestAKilledRekeyLosesNothing(t *testing.T) {
	t.Parallel()
	v, dir, _ := filled(t, options())
	before := everything(t, v)
	must(t, v.Close())
	done, counted := 0, 0
	for n := range 25 {
		c := start(t, "rekey", dir)
		timer := time.NewTimer(rand.N(400 * time.Millisecond))
		select {
		case <-timer.C:
		case <-c.done:
		}
		lines := c.kill()
		if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "error") }); i >= 0 {
			t.Fatalf("kill %d: %s", n, lines[i])
		}
		done += len(lines)
		v, err := openAgain(t, dir)
		must(t, err)
		if everything(t, v) != before {
			t.Fatalf("kill %d: something else is in it", n)
		}
		if _, err := v.Check(t.Context()); err != nil || vault.Unclean(v) {
			t.Fatalf("kill %d: %v, unclean: %t", n, err, vault.Unclean(v))
		}
		trail, err := v.Audit(t.Context())
		must(t, err)
		counted = 0
		for _, e := range trail {
			if e.Action == "vault.rekey" {
				counted++
			}
		}
		// A process may have died after its rekey, before it said so.
		if counted < done || counted > done+n+1 {
			t.Fatalf("kill %d: %d are in the trail, %d were acknowledged", n, counted, done)
		}
		must(t, v.Close())
	}
	t.Logf("%d acknowledged, %d in the trail", done, counted)
}

// What another process was told is written is there after a rekey, and what it
// writes later with the old key is refused.
func TestARekeyLosesNothingOfAnotherWriter(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	c := start(t, "records", dir)
	<-c.first
	v = rekey(t, v, dir, options(), testPassphrase)
	lines := c.wait() // it ends by itself
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "error") || !strings.Contains(last, "the vault's key was replaced meanwhile; nothing changed") {
		t.Fatalf("the other process ended with %q", last)
	}
	for _, uid := range lines[:len(lines)-1] {
		if _, err := v.Record(t.Context(), pam.UID(uid)); err != nil {
			t.Errorf("a record is lost: %v", err)
		}
	}
	if heads, err := v.Heads(t.Context()); err != nil || len(heads) != len(lines)-1 {
		t.Errorf("%d records, %d were acknowledged, %v", len(heads), len(lines)-1, err)
	}
	_, err := v.Check(t.Context())
	must(t, err)
}

// Who writes without a pause lets others write: of SQLite's own waiting, each of
// these writes would cost hundreds of the other's, or fail after ten seconds.
func TestAWriterStarvesNobody(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	c := start(t, "records", dir)
	<-c.first
	const writes = 20
	for range writes {
		_, err := v.AddRecord(t.Context(), userRecord("mine", "r", "r"))
		must(t, err)
	}
	if lines := c.kill(); len(lines) > writes*10 {
		t.Errorf("the other process wrote %d times beside %d", len(lines), writes)
	} else {
		t.Logf("the other process wrote %d times beside %d", len(lines), writes)
	}
}

// addForEver adds records until that fails.
func addForEver(ctx context.Context, dir string) error {
	v, err := openOrCreate(ctx, dir)
	if err != nil {
		return err
	}
	for {
		uid, err := v.AddRecord(ctx, userRecord("r", "r", "r"))
		if err != nil {
			return err
		}
		fmt.Println(uid)
	}
}

// Backups that are made while the key is replaced are of one key or refused.
func TestABackupIsOfOneKey(t *testing.T) {
	t.Parallel()
	_, dir, _ := filled(t, options())
	c := start(t, "rekey", dir)
	<-c.first
	made := 0
	for n := range 15 {
		v, err := openAgain(t, dir)
		if errors.Is(err, pam.ErrConflict) {
			wants(t, err, pam.ErrConflict, "replaced meanwhile") // while it was opened
			continue
		}
		if err != nil {
			wants(t, err, pam.ErrLocked) // between unlocking and opening
			continue
		}
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.tar", n))
		err = v.Backup(t.Context(), path)
		must(t, v.Close())
		if err != nil {
			wants(t, err, pam.ErrConflict, "replaced meanwhile")
			continue
		}
		made++
		again := restored(t, path)
		_, err = again.Check(t.Context())
		must(t, err)
	}
	c.kill()
	t.Logf("%d backups were made", made)
}

// restored opens the vault of a backup.
func restored(t *testing.T, path string) *vault.Vault {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close() //nolint:errcheck // only read
	dir := filepath.Join(t.TempDir(), "restored")
	must(t, vault.Restore(dir, f))
	v, err := openAgain(t, dir)
	must(t, err)
	return v
}
