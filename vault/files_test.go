//go:build !windows

package vault_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

func TestWhatStandsInAFilesPlaceIsRefused(t *testing.T) {
	t.Parallel()
	// Each change is made to one file of a closed vault.
	for name, change := range map[string]func(path string) error{
		"a link": func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.Symlink(path+".away", path))
		},
		"a pipe":            func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
		"a folder":          func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"readable by group": func(path string) error { return os.Chmod(path, 0o640) },
		"readable by all":   func(path string) error { return os.Chmod(path, 0o604) },
		"of another user": func(path string) error {
			if os.Geteuid() != 0 {
				return os.Chmod(path, 0o666) // only root can give a file away
			}
			return os.Chown(path, 12345, -1)
		},
	} {
		for _, file := range []string{"header", "vault.db"} {
			t.Run(file+" is "+name, func(t *testing.T) {
				t.Parallel()
				v, dir := create(t)
				must(t, v.Close())
				key, err := vault.UnlockKey(t.Context(), dir, word(testPassphrase))
				must(t, err)
				path := filepath.Join(dir, file)
				must(t, change(path))
				_, err = vault.Open(t.Context(), dir, key, options())
				if !errors.Is(err, pam.ErrIO) && !errors.Is(err, pam.ErrDenied) {
					t.Fatalf("got %v", err)
				}
				wants(t, err, pam.KindOf(err), path)
			})
		}
	}
}

func TestAFolderThatOthersCanLookIntoIsRefused(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	must(t, v.Close())
	must(t, os.Chmod(dir, 0o755))
	_, err := vault.UnlockKey(t.Context(), dir, word(testPassphrase))
	wants(t, err, pam.ErrDenied, "chmod 700")
}

func TestCreateInAFolderThatIsThere(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	must(t, os.Chmod(empty, 0o755))
	v, err := vault.Create(t.Context(), empty, word("pw"), options())
	must(t, err)
	must(t, v.Close())
	if info, err := os.Stat(empty); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	full := t.TempDir()
	must(t, os.Chmod(full, 0o755))
	must(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	_, err = vault.Create(t.Context(), full, word("pw"), options())
	wants(t, err, pam.ErrDenied, "chmod 700")
	file := filepath.Join(full, "mine")
	_, err = vault.Create(t.Context(), file, word("pw"), options())
	wants(t, err, pam.ErrIO)
}

func TestCreateCleansUpAfterOneThatWasCutOff(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	must(t, v.Close())
	// As if power was lost between the two renames.
	must(t, os.Rename(filepath.Join(dir, "header"), filepath.Join(dir, "header.new")))
	if vault.Exists(dir) {
		t.Error("half a vault exists")
	}
	_, err := vault.UnlockKey(t.Context(), dir, word(testPassphrase))
	wants(t, err, pam.ErrNotFound, "keyturn init")
	must(t, os.WriteFile(filepath.Join(dir, "vault.db.new-journal"), []byte("x"), 0o600))
	v, err = vault.Create(t.Context(), dir, word("second"), options())
	must(t, err)
	must(t, v.Close())
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("got %v, %v", entries, err)
	}
}

func TestADatabaseWithoutItsHeaderIsNeverRemoved(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	must(t, v.Close())
	must(t, os.Rename(filepath.Join(dir, "header"), filepath.Join(t.TempDir(), "kept")))
	_, err := vault.Create(t.Context(), dir, word("second"), options())
	wants(t, err, pam.ErrConflict, "header is missing")
	if _, err := os.Stat(filepath.Join(dir, "vault.db")); err != nil {
		t.Error(err)
	}
}

func TestAMissingDatabaseIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	must(t, v.Close())
	must(t, os.Remove(filepath.Join(dir, "vault.db")))
	_, err := openAgain(t, dir)
	wants(t, err, pam.ErrIO, "missing")
	if _, err := os.Stat(filepath.Join(dir, "vault.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestOneOfManyCreationsWins(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "vault")
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			v, err := vault.Create(t.Context(), dir, word("pw"), options())
			if err == nil {
				made.Add(1)
				err = v.Close()
			} else if errors.Is(err, pam.ErrConflict) {
				err = nil
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d vaults were made", made.Load())
	}
}

func TestCreateRefusesBadOptions(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "vault")
	for memory, kind := range map[uint32]pam.Kind{18 * 1024: pam.ErrUsage, 2 * 1024 * 1024: pam.ErrUsage} {
		o := options()
		o.KDFMemory = memory
		_, err := vault.Create(t.Context(), dir, word("pw"), o)
		wants(t, err, kind)
	}
	_, err := vault.Create(t.Context(), dir, word(""), options())
	wants(t, err, pam.ErrInvalidInput, "empty")
	_, err = vault.Create(t.Context(), dir, word("pw"), vault.Options{})
	wants(t, err, pam.ErrInternal)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused creation left %s: %v", dir, err)
	}
}

// The agent's socket and the anchor have the vault's name, before its header is proven.
func TestAHeaderThatNamesAnotherPathIsRefused(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	must(t, v.Close())
	path := filepath.Join(dir, "header")
	b, err := os.ReadFile(path)
	must(t, err)
	id, err := vault.ID(dir)
	must(t, err)
	must(t, os.WriteFile(path, bytes.Replace(b, []byte(id), []byte("../../../home/me/other"), 1), 0o600))
	_, err = vault.ID(dir)
	wants(t, err, pam.ErrIO, "it names no vault")
	_, err = openAgain(t, dir)
	wants(t, err, pam.ErrIO, "it names no vault")
}
