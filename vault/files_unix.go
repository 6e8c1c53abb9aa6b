//go:build !windows

package vault

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"keyturn/pkg/pam"
)

// checkOwner refuses what another user owns, or what others may read.
func checkOwner(path string, info fs.FileInfo, want fs.FileMode) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return pam.Errorf(pam.ErrDenied, "%s belongs to user id %d; nothing was read", path, st.Uid)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return pam.Errorf(pam.ErrDenied, "%s can be read or changed by others (mode %04o); nothing was read", path, mode).
			WithHint("chmod %o %s", want, path)
	}
	return nil
}

// openNoFollow opens for reading; it follows no link and does not wait for the
// other end of a pipe.
func openNoFollow(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) //nolint:gosec // in the vault's own folder
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) (err error) {
	f, err := os.Open(dir) //nolint:gosec // the vault's own folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}

// openLockFile opens a lock file, making it if need be.
func openLockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, fileMode) //nolint:gosec // in the vault's own folder
	if err != nil {
		return nil, err
	}
	return f, nil
}

// tryLock takes the file's lock without waiting; ok is false when somebody has it.
// The kernel gives it back when the process ends.
func tryLock(f *os.File) (ok bool, err error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		default:
			return false, err
		}
	}
}
