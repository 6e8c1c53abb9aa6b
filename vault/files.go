package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
	"keyturn/vault/seal"
)

// The files of a vault.
const (
	headerFile   = "header"
	databaseFile = "vault.db"
	locksDir     = "locks"
	createLock   = "create"      // in locksDir: held while a vault is being made
	headerLock   = "header"      // in locksDir: held while the header is replaced
	agentLock    = "agent"       // in locksDir: held while the agent is started
	turnLock     = "turn"        // in locksDir: held by the writer that is next
	nextHeader   = "header.next" // of a key that the vault is about to get

	newSuffix = ".new" // a file that is not complete yet

	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// Exists reports whether dir holds a vault.
func Exists(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, headerFile))
	return err == nil
}

// checkDir refuses a vault folder that others can look into.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return errNoVault(dir)
	}
	if err != nil {
		return pam.Errorf(pam.ErrIO, "look at the vault folder: %w", err)
	}
	if !info.IsDir() {
		return pam.Errorf(pam.ErrIO, "%s is not a folder", dir)
	}
	return checkOwner(dir, info, 0o700)
}

// checkFile refuses what stands in the place of a vault file: a link, a pipe, a
// folder, or a file that others own or can read. A missing file is no error.
func checkFile(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return pam.Errorf(pam.ErrIO, "look at a vault file: %w", err)
	}
	return checkInfo(path, info)
}

func checkInfo(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return pam.Errorf(pam.ErrIO, "%s is not a regular file (%s); nothing was read", path, info.Mode().Type())
	}
	return checkOwner(path, info, 0o600)
}

// checkDatabase checks the database and the files that SQLite keeps beside it.
func checkDatabase(dir string) error {
	for _, name := range []string{"", "-wal", "-shm", "-journal"} {
		if err := checkFile(filepath.Join(dir, databaseFile+name)); err != nil {
			return err
		}
	}
	return nil
}

// readHeader reads and decodes the header, and touches no other file.
func readHeader(dir string) (seal.Header, error) {
	if err := checkDir(dir); err != nil {
		return seal.Header{}, err
	}
	return readHeaderFile(dir, headerFile)
}

func readHeaderFile(dir, name string) (seal.Header, error) {
	path := filepath.Join(dir, name)
	f, err := openNoFollow(path)
	if errors.Is(err, fs.ErrNotExist) {
		return seal.Header{}, errNoVault(dir)
	}
	if err != nil {
		if cerr := checkFile(path); cerr != nil {
			return seal.Header{}, cerr
		}
		return seal.Header{}, pam.Errorf(pam.ErrIO, "open the vault header: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return seal.Header{}, pam.Errorf(pam.ErrIO, "look at the vault header: %w", err)
	}
	if err := checkInfo(path, info); err != nil {
		return seal.Header{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, seal.MaxHeader+1))
	if err != nil {
		return seal.Header{}, pam.Errorf(pam.ErrIO, "read the vault header: %w", err)
	}
	h, err := seal.Decode(b)
	if err == nil && !pam.IsUID(h.Vault) { // it names files of ours before anything of it is proven
		err = fmt.Errorf("%w: it names no vault", seal.ErrFormat)
	}
	if errors.Is(err, seal.ErrFormat) && !errors.Is(err, seal.ErrParams) {
		return seal.Header{}, pam.Errorf(pam.ErrIO, "read the vault header: %w", err).WithHint(hintHeader)
	}
	return h, sealError("read the vault header", err)
}

// hintHeader is what to do about a header that is damaged or gone. There is no second
// copy, which would keep key slots that were closed; a backup's fits as long as the
// vault has that key.
const hintHeader = "take the file header from a backup that is younger than the last rekey: tar -xf BACKUP header"

// Headless says of a vault whose header is gone that it is; nil for any other folder.
func Headless(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, databaseFile)); err == nil && !Exists(dir) {
		return pam.Errorf(pam.ErrNotFound, "there is no vault in %s: the file header is missing", dir).WithHint(hintHeader)
	}
	return nil
}

func errNoVault(dir string) error {
	return pam.Errorf(pam.ErrNotFound, "there is no vault in %s", dir).WithHint("keyturn init")
}

// writeFile creates a file that only its owner can read, whatever the umask,
// and makes it durable.
func writeFile(path string, b []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode) //nolint:gosec // in the vault's own folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Chmod(fileMode); err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

// syncFile makes a file durable that somebody else wrote.
func syncFile(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // in the vault's own folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}
