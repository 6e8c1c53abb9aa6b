package vault

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"

	"keyturn/pkg/pam"
	"keyturn/vault/seal"
)

// The primary SQLite result codes that are told apart.
const (
	sqliteBusy   = 5
	sqliteLocked = 6
	sqliteFull   = 13
	sqliteNotDB  = 26
	sqliteBroken = 11 // a page is not what it should be
	sqliteRead   = 8  // the file, or its folder, cannot be written
	sqliteIO     = 10 // a system call failed
	sqliteOpen   = 14 // the file, or one that it needs beside it, cannot be opened or made

	sqliteWrite = sqliteIO | 3<<8  // of them, the one that writes
	sqliteShare = sqliteIO | 19<<8 // the one that makes room for what processes share
)

// dbError turns a database failure into what a person can act on. doing says
// what was being done: "read the vault".
func dbError(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*pam.Error](err); ok {
		return err
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("%s: %w", doing, cause)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqliteBusy, sqliteLocked:
			return pam.Errorf(pam.ErrConflict, "%s: another process is writing; nothing changed: %w", doing, err).
				WithHint("try again; if it stays so, look for a keyturn process that hangs")
		case sqliteFull:
			return pam.Errorf(pam.ErrIO, "%s: the disk is full; nothing changed: %w", doing, err)
		case sqliteRead:
			return pam.Errorf(pam.ErrIO, "%s: the vault's folder cannot be written; nothing changed: %w", doing, err).
				WithHint("look at its disk, mount and owner")
		case sqliteOpen:
			return pam.Errorf(pam.ErrIO, "%s: its database cannot be opened; nothing changed: %w", doing, err).
				WithHint("its folder must be writable, for reading too: of a read-only disk take a copy of the whole folder")
		case sqliteIO: // of a commit too: whether it is on the disk is then not known
			return pam.Errorf(pam.ErrIO, "%s: the disk failed, or is full: %w", doing, err).
				WithHint("make room; look whether a change is stored before you repeat it")
		case sqliteNotDB, sqliteBroken:
			return pam.Errorf(pam.ErrIO, "%s: vault.db is damaged: %w", doing, err).WithHint(hintDamaged)
		}
	}
	return pam.Errorf(pam.ErrIO, "%s: %w", doing, err)
}

// hintDamaged is what to do about a vault that cannot be read.
const hintDamaged = "restore the vault from a backup; without one: keyturn vault salvage DIR"

// tampered is the error for content that is sound by itself but not what this
// vault says it holds.
func tampered(format string, args ...any) error {
	return pam.Errorf(pam.ErrDenied, "the vault was changed outside of Keyturn: "+format, args...).
		WithHint("do not go on with this copy: " + hintDamaged)
}

// sealError turns a failure of package seal into a typed one.
func sealError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, seal.ErrKey):
		return pam.Errorf(pam.ErrLocked, "wrong master password; nothing changed")
	case errors.Is(err, seal.ErrClosed):
		return pam.Errorf(pam.ErrLocked, "%s: the vault is locked", what)
	case errors.Is(err, seal.ErrNewer):
		return errNewer()
	case errors.Is(err, seal.ErrMAC), errors.Is(err, seal.ErrTampered):
		return tampered("%s: %w", what, err)
	case errors.Is(err, seal.ErrParams):
		return pam.Errorf(pam.ErrDenied, "%s: refused: %w", what, err)
	default:
		return pam.Errorf(pam.ErrIO, "%s: %w", what, err)
	}
}

func errNewer() error {
	return pam.Errorf(pam.ErrConflict, "a newer Keyturn wrote this vault; nothing changed").WithHint("update Keyturn")
}
