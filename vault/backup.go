package vault

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
	"keyturn/vault/seal"
)

// A backup is a tar file with the header and the database, as sealed as they
// are in the vault folder, in this order.
var backupFiles = []string{headerFile, databaseFile}

// maxBackup bounds a database that is restored.
const maxBackup = 64 << 30

// Backup writes one moment of the vault to a file that only its owner can read,
// durably and all of it or nothing. ErrConflict when the file exists. Writers
// are not kept waiting longer than it takes to copy the database.
func (v *Vault) Backup(ctx context.Context, path string) (err error) {
	const doing = "back up the vault"
	if _, err := os.Lstat(path); err == nil {
		return pam.Errorf(pam.ErrConflict, "%s exists; nothing was written", path).WithHint("choose another name")
	}
	part, copied := path+newSuffix, path+".db"+newSuffix
	defer func() {
		for _, left := range []string{part, copied} {
			if rerr := os.Remove(left); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	if err := writeFile(copied, nil); err != nil { // SQLite fills an empty file, and keeps its mode
		return pam.Errorf(pam.ErrIO, doing+": %w", err)
	}
	// On the writing connection, since the others only query; it reads all the same.
	if _, err := v.writer.ExecContext(ctx, "VACUUM INTO ?", copied); err != nil {
		return dbError(ctx, doing, err)
	}
	// After the copy: the header of a key does not change what it opens, and a newer
	// one opens with the newer passphrase. The key is the copy's if it is in force still.
	header, err := v.headerInForce(ctx, doing)
	if err != nil {
		return err
	}
	if err := v.archive(part, header, copied); err != nil {
		return pam.Errorf(pam.ErrIO, doing+": %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return pam.Errorf(pam.ErrIO, doing+": %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return pam.Errorf(pam.ErrIO, doing+": %w", err)
	}
	return nil
}

// headerInForce returns the header file of the key that the vault was opened with;
// ErrConflict when the database is sealed with another one by now.
func (v *Vault) headerInForce(ctx context.Context, doing string) ([]byte, error) {
	if err := v.view(ctx, func(*txn) error { return nil }); err != nil {
		return nil, err
	}
	h, err := v.header(doing)
	if err != nil {
		return nil, err
	}
	key := v.Key()
	defer key.Destroy()
	header, err := h.Encode(key)
	return header, sealError(doing, err)
}

func (v *Vault) archive(part string, header []byte, database string) (err error) {
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode) //nolint:gosec // where the caller wants it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	if err := addMember(w, headerFile, bytes.NewReader(header), int64(len(header))); err != nil {
		return err
	}
	if err := addFile(w, databaseFile, database); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Sync()
}

func addFile(w *tar.Writer, name, path string) (err error) {
	f, err := openNoFollow(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return addMember(w, name, f, info.Size())
}

func addMember(w *tar.Writer, name string, r io.Reader, size int64) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: int64(fileMode), Size: size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := io.Copy(w, r)
	return err
}

// Restore makes a vault in dir from a backup. ErrConflict when dir holds one
// already. Nothing is opened: that takes the master password the vault had when
// the backup was made.
func Restore(dir string, backup io.Reader) error {
	unlock, err := prepareDir(dir)
	if err != nil {
		return err
	}
	err = unpack(dir, backup)
	return errors.Join(err, unlock())
}

func unpack(dir string, backup io.Reader) error {
	header, err := unpackFiles(dir, tar.NewReader(backup))
	if err == nil {
		_, err = seal.Decode(header)
		err = sealError("read the backup's header", err)
	}
	if err != nil {
		_ = os.Remove(filepath.Join(dir, databaseFile+newSuffix)) // the next attempt would do it too
		return err
	}
	if err := publish(dir, header); err != nil {
		return pam.Errorf(pam.ErrIO, "restore the vault: %w", err)
	}
	return nil
}

// unpackFiles reads exactly the members of a backup, and writes the database
// under its temporary name.
func unpackFiles(dir string, r *tar.Reader) (header []byte, err error) {
	none := func(why string, args ...any) error {
		return pam.Errorf(pam.ErrInvalidInput, "this is not a backup of a vault: "+why, args...)
	}
	for _, name := range backupFiles {
		m, err := r.Next()
		if err != nil {
			return nil, none("%s is missing: %w", name, err)
		}
		if m.Name != name || m.Typeflag != tar.TypeReg {
			return nil, none("it holds %q in the place of %s", m.Name, name)
		}
		if name == headerFile {
			if header, err = io.ReadAll(io.LimitReader(r, seal.MaxHeader+1)); err != nil {
				return nil, none("read %s: %w", name, err)
			}
			continue
		}
		if m.Size > maxBackup {
			return nil, none("%s has %d bytes", name, m.Size)
		}
		if err := unpackDatabase(filepath.Join(dir, databaseFile+newSuffix), r); err != nil {
			return nil, none("read %s: %w", name, err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return nil, none("it holds more than a vault")
	}
	return header, nil
}

func unpackDatabase(path string, r io.Reader) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode) //nolint:gosec // in the vault's own folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(f, io.LimitReader(r, maxBackup))
	if err == nil && n == 0 {
		err = fmt.Errorf("it is empty")
	}
	return err
}
