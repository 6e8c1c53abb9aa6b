package vault

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// While the vault's key is replaced there are two headers: that of the key in
// force and, under another name, that of the next one. Which of them counts is
// decided by the database, whose epoch changes in the transaction that seals
// everything anew: a rekey that was cut off anywhere leaves a vault that opens.

// headers are what stands beside the database.
type headers struct {
	now  seal.Header
	next *seal.Header // nil when there is none, or it is not whole
}

// readHeaders reads the headers and touches no other file. The next one comes
// first: if it gets its name meanwhile it is read as the present one.
func readHeaders(dir string) (headers, error) {
	next, nextErr := readHeaderFile(dir, nextHeader)
	now, err := readHeader(dir)
	h := headers{now: now}
	if err == nil && nextErr == nil && next.Vault == now.Vault && next.Epoch > now.Epoch {
		h.next = &next
	}
	return h, err
}

// epochOf reads from the database which key it is sealed with. It needs no key,
// and nothing proves it: it only chooses between headers that a secret opened.
func epochOf(ctx context.Context, dir string) (epoch int64, err error) {
	if err := checkDatabase(dir); err != nil {
		return 0, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return 0, pam.Errorf(pam.ErrIO, "find the vault folder: %w", err)
	}
	db, err := sql.Open("sqlite", forReader(filepath.Join(abs, databaseFile)))
	if err == nil {
		err = db.QueryRowContext(ctx, `SELECT epoch FROM meta WHERE id = 1`).Scan(&epoch)
		err = errors.Join(err, db.Close())
	}
	return epoch, dbError(ctx, "read the vault", err)
}

// headerFor returns the header in force, which must be that of the key.
// ErrLocked when it is not.
func headerFor(ctx context.Context, dir string, key secret.Value) (seal.Header, error) {
	h, err := readHeaders(dir)
	if err != nil {
		return seal.Header{}, err
	}
	not := pam.Errorf(pam.ErrLocked, "the key is not this vault's; nothing was read").WithHint("keyturn login")
	if key.Len() != seal.KeySize {
		return seal.Header{}, not
	}
	isNow, isNext := h.now.Verify(key) == nil, h.next != nil && h.next.Verify(key) == nil
	if !isNow && !isNext {
		return seal.Header{}, not
	}
	if h.next == nil {
		return h.now, nil
	}
	epoch, err := epochOf(ctx, dir)
	switch {
	case err != nil:
		return seal.Header{}, err
	case isNext && epoch == h.next.Epoch:
		return *h.next, nil
	case isNow && epoch != h.next.Epoch:
		return h.now, nil
	}
	return seal.Header{}, not
}

// header reads the header of the key that the vault was opened with. ErrConflict
// when the vault has another one by now.
func (v *Vault) header(doing string) (seal.Header, error) {
	h, err := readHeaders(v.dir)
	if err != nil {
		return seal.Header{}, err
	}
	key := v.Key()
	defer key.Destroy()
	if h.next != nil && h.next.Epoch == v.epoch {
		h.now = *h.next
	}
	if h.now.Epoch > v.epoch {
		return seal.Header{}, errReplaced()
	}
	return h.now, sealError(doing, h.now.Verify(key))
}

func errReplaced() error {
	return pam.Errorf(pam.ErrConflict, "the vault's key was replaced meanwhile; nothing changed").
		WithHint("keyturn logout, then keyturn login")
}

// syncLog makes what this process reads from the log durable: who wrote it may have
// died before it did.
func (v *Vault) syncLog() error {
	err := syncFile(filepath.Join(v.dir, databaseFile+"-wal"))
	if errors.Is(err, fs.ErrNotExist) { // it is all in the database
		return nil
	}
	return err
}

// outlive commits a change of nothing. A commit that failed may be in the log all the
// same, and count for whoever reads the log after a crash; with another one in its
// place it does not.
func (v *Vault) outlive(ctx context.Context) error {
	return v.update(ctx, doingRekey, func(t *txn) error {
		t.changed = true
		return nil
	})
}

// settle ends what a rekey that was cut off left of headers: the next one gets
// its name when it is that of the key in force, durably, and is removed when it is
// not and cannot be any more.
// The caller holds the header's lock.
func (v *Vault) settle(ctx context.Context) error {
	path := filepath.Join(v.dir, nextHeader)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := v.view(ctx, func(*txn) error { return nil }); err != nil { // the key in force is ours
		return err
	}
	next, err := readHeaderFile(v.dir, nextHeader)
	key := v.Key()
	defer key.Destroy()
	if err == nil && next.Epoch == v.epoch && next.Verify(key) == nil {
		if err = v.syncLog(); err == nil {
			err = os.Rename(path, filepath.Join(v.dir, headerFile))
		}
	} else if err = v.outlive(ctx); err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = syncDir(v.dir)
	}
	if err != nil {
		return pam.Errorf(pam.ErrIO, "end the replacement of the vault's key: %w", err)
	}
	return nil
}
