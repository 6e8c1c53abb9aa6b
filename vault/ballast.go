package vault

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"modernc.org/sqlite"

	"keyturn/pkg/pam"
)

// The ballast is a file that lies in the vault's folder for its size alone. A
// rotation is begun only when it is there. When the disk is full it is removed, so
// that a rotation that has sent a password can save how it ends.
const (
	ballastFile = "ballast"
	ballastSize = 4 << 20 // as much as the write-ahead log grows to
)

// reserve makes sure of the ballast, durably.
func (v *Vault) reserve() (err error) {
	path := filepath.Join(v.dir, ballastFile)
	f, err := openLockFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err == nil {
		err = checkInfo(path, info)
	}
	if err != nil || info.Size() >= ballastSize {
		return err
	}
	// Noise, which no file system makes smaller. It is no secret.
	noise := rand.NewChaCha8([32]byte{})
	if _, err = io.CopyN(f, noise, ballastSize); err == nil {
		err = f.Sync()
	}
	if err != nil {
		err = errors.Join(err, os.Remove(path)) // half of it is only in the way
	}
	return err
}

// makeRoom gives the ballast's place to the database, and keeps its log short, which
// would take it all.
func (v *Vault) makeRoom(ctx context.Context) {
	_ = os.Remove(filepath.Join(v.dir, ballastFile)) // without it the log alone may do
	_, _ = v.writer.ExecContext(ctx, "PRAGMA wal_autocheckpoint(100)")
	var busy, logged, moved int
	_ = v.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &logged, &moved)
}

// insist is update for what a job saves of itself: on a full disk it takes the ballast.
func (v *Vault) insist(ctx context.Context, doing string, fn func(*txn) error) error {
	err := v.update(ctx, doing, fn)
	if !noRoom(err) {
		return err
	}
	v.makeRoom(ctx)
	return v.update(ctx, doing, fn)
}

// noRoom reports whether a transaction failed, and is undone, because the disk or
// its owner's share of it is full. SQLite calls a used up share a failed write.
func noRoom(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqliteFull || e.Code() == sqliteWrite || e.Code() == sqliteShare)
}

// errNoBallast says that a rotation is not begun.
func (v *Vault) errNoBallast(err error) error {
	const why = "there is no room for what a rotation must be able to save after it has sent a password; nothing was sent: %w"
	return pam.Errorf(pam.ErrIO, why, err).
		WithHint("make room for %d MiB in %s", ballastSize>>20, v.dir)
}
