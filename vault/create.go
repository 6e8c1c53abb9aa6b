package vault

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// What a new vault holds.
const (
	firstGateway       = "Embedded"
	firstConfiguration = "Local Network"
)

// Create makes a new vault in dir with one passphrase slot, the gateway
// "Embedded" and the configuration "Local Network", and opens it. ErrConflict
// when there is one already.
//
// The header is the last to get its name: a vault exists when it does. What a
// creation that was cut off left behind is cleaned up by the next.
func Create(ctx context.Context, dir string, passphrase secret.Value, o Options) (*Vault, error) {
	if err := o.check(dir); err != nil {
		return nil, err
	}
	if a := (anchorage{path: o.Anchor}).read(); a.there {
		return nil, pam.Errorf(pam.ErrConflict, "%s is there already, and cannot be an anchor of a new vault; nothing changed", o.Anchor)
	}
	kdf := seal.DefaultKDF()
	kdf.Memory = cmp.Or(o.KDFMemory, kdf.Memory)
	if err := kdf.Check(); err != nil {
		return nil, pam.Errorf(pam.ErrUsage, "create a vault: %w", err)
	}
	if passphrase.IsZero() {
		return nil, pam.Errorf(pam.ErrInvalidInput, "create a vault: the master password is empty; nothing changed")
	}
	unlock, err := prepareDir(dir)
	if err != nil {
		return nil, err
	}
	k, err := build(ctx, dir, passphrase, kdf, o)
	defer k.Destroy()
	if err := errors.Join(err, unlock()); err != nil {
		return nil, err
	}
	return Open(ctx, dir, k, o)
}

// prepareDir makes the folders, keeps other creations out, and cleans up after
// one that was cut off.
func prepareDir(dir string) (unlock func() error, err error) {
	for _, d := range []string{dir, filepath.Join(dir, locksDir)} {
		if err := makeDir(d); err != nil {
			return nil, err
		}
	}
	l, err := lockFile(filepath.Join(dir, locksDir, createLock))
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "create a vault: %w", err)
	}
	if l == nil {
		return nil, pam.Errorf(pam.ErrConflict, "another process is creating a vault in %s", dir)
	}
	if err := cleanUp(dir); err != nil {
		return nil, errors.Join(err, l.Release())
	}
	return l.Release, nil
}

// makeDir makes a private folder. An existing one that others can look into is
// made private only if it is empty.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return pam.Errorf(pam.ErrIO, "make the vault folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return pam.Errorf(pam.ErrIO, "look at the vault folder: %w", err)
	}
	if len(entries) == 0 {
		if err := os.Chmod(dir, dirMode); err != nil {
			return pam.Errorf(pam.ErrIO, "make the vault folder private: %w", err)
		}
	}
	return checkDir(dir)
}

// cleanUp removes what a cut creation left. A database without a header that no
// creation left is somebody's data: it is never removed.
func cleanUp(dir string) error {
	if Exists(dir) {
		return pam.Errorf(pam.ErrConflict, "there is a vault in %s already; nothing changed", dir).WithHint("keyturn login")
	}
	newHeader := filepath.Join(dir, headerFile+newSuffix)
	if _, err := os.Lstat(filepath.Join(dir, databaseFile)); err == nil {
		if _, err := os.Lstat(newHeader); err != nil {
			return pam.Errorf(pam.ErrConflict, "%s holds a %s whose header is missing; nothing changed", dir, databaseFile).
				WithHint("restore the file %q from a backup, or choose another folder", headerFile)
		}
	}
	// The new header goes last: until then the next attempt knows what the rest is.
	for _, name := range append(databaseFiles(databaseFile+newSuffix), append(databaseFiles(databaseFile), headerFile+newSuffix)...) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return pam.Errorf(pam.ErrIO, "clean up after an unfinished creation: %w", err)
		}
	}
	return nil
}

func databaseFiles(name string) []string {
	return []string{name, name + "-wal", name + "-shm", name + "-journal"}
}

// build makes the files and returns the vault key, which the caller owns.
func build(ctx context.Context, dir string, passphrase secret.Value, kdf seal.KDFParams, o Options) (secret.Value, error) {
	id, err := pam.NewUID(o.Random)
	if err != nil {
		return secret.Value{}, pam.Errorf(pam.ErrIO, "create a vault: %w", err)
	}
	k, err := seal.NewKey(o.Random)
	if err != nil {
		return k, pam.Errorf(pam.ErrIO, "create a vault: %w", err)
	}
	h := seal.Header{Vault: string(id), Epoch: 1}
	if err := h.AddPassphrase(o.Random, k, passphrase, kdf); err != nil {
		return k, sealError("create a vault", err)
	}
	header, err := h.Encode(k)
	if err != nil {
		return k, sealError("create a vault", err)
	}
	if err := buildDatabase(ctx, dir, h, k, o); err != nil {
		return k, err
	}
	if err := publish(dir, header); err != nil {
		return k, pam.Errorf(pam.ErrIO, "create a vault: %w", err)
	}
	return k, nil
}

// publish gives the files their names, the header last.
func publish(dir string, header []byte) error {
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := syncFile(path(databaseFile + newSuffix)); err != nil {
		return err
	}
	if err := writeFile(path(headerFile+newSuffix), header); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	for _, name := range []string{databaseFile, headerFile} {
		if err := os.Rename(path(name+newSuffix), path(name)); err != nil {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(dir))
}

// buildDatabase makes the database under its temporary name.
func buildDatabase(ctx context.Context, dir string, h seal.Header, k secret.Value, o Options) (err error) {
	v, err := emptyDatabase(ctx, dir, h, k, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := dbError(ctx, "create a vault", v.fill(ctx)); err != nil {
		return err
	}
	// The file gets another name, without the log, next.
	return v.checkpoint(ctx, "create a vault")
}

// emptyDatabase makes a database without rows under its temporary name.
func emptyDatabase(ctx context.Context, dir string, h seal.Header, k secret.Value, o Options) (*Vault, error) {
	if err := writeFile(filepath.Join(dir, databaseFile+newSuffix), nil); err != nil {
		return nil, pam.Errorf(pam.ErrIO, "create a vault: %w", err)
	}
	v, err := newVault(ctx, dir, databaseFile+newSuffix, h, k, o)
	if err != nil {
		return nil, err
	}
	statements := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; %s", applicationID, schemaVersion, schema)
	if _, err := v.writer.ExecContext(ctx, statements); err != nil {
		return nil, errors.Join(dbError(ctx, "create a vault", err), v.Close())
	}
	return v, nil
}

// checkpoint moves everything from the write-ahead log into the database file
// and empties the log. Closing does that too, but says nothing when it fails.
func (v *Vault) checkpoint(ctx context.Context, doing string) error {
	var busy, logged, moved int
	if err := v.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &logged, &moved); err != nil {
		return dbError(ctx, doing, err)
	}
	if busy != 0 || logged != moved {
		return pam.Errorf(pam.ErrIO, doing+": %d of %d pages of the log were written", moved, logged)
	}
	return nil
}

// fill writes the first rows of a new vault.
func (v *Vault) fill(ctx context.Context) error {
	tx, err := v.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // nothing to do after a commit, nothing to save before it
	root, err := seal.NewKey(v.random)
	if err != nil {
		return err
	}
	t := &txn{v: v, db: tx, pages: map[int]*page{}, index: emptyIndex()}
	t.meta = meta{Created: v.now().UTC(), auditRoot: root, auditKey: root.Clone()}
	defer t.meta.destroy()
	gateway, err := t.newUID()
	if err != nil {
		return err
	}
	if err := t.put(ctx, rowKey(groupGateway, gateway), pam.Gateway{UID: gateway, Name: firstGateway}); err != nil {
		return err
	}
	configuration, err := t.newUID()
	if err != nil {
		return err
	}
	c := pam.Configuration{UID: configuration, Title: firstConfiguration, Environment: "local", Gateway: gateway}
	if err := t.put(ctx, rowKey(groupConfiguration, configuration), c); err != nil {
		return err
	}
	if err := t.audit(ctx, "vault.create", v.id, ""); err != nil {
		return err
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	return tx.Commit()
}

func (t *txn) newUID() (pam.UID, error) {
	uid, err := pam.NewUID(t.v.random)
	if err != nil {
		return "", pam.Errorf(pam.ErrIO, "%w", err)
	}
	return uid, nil
}

func emptyIndex() []byte { return make([]byte, manifestPages*sha256.Size) }
