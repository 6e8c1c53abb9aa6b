//go:build windows

package vault

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// checkOwner leaves the access to the folder's inherited list: Windows has no
// mode bits to read it from.
func checkOwner(string, fs.FileInfo, fs.FileMode) error { return nil }

// openNoFollow opens for reading. A link is refused by the check of the path,
// which the caller makes of the opened file too.
func openNoFollow(path string) (*os.File, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// syncDir does nothing: NTFS makes names durable with its own journal.
func syncDir(string) error { return nil }

// openLockFile opens a lock file, making it if need be.
func openLockFile(path string) (*os.File, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
}

// tryLock takes the file's lock without waiting; ok is false when somebody has it.
// It locks a byte far behind the content, so that the owner's name stays readable.
func tryLock(f *os.File) (ok bool, err error) {
	far := &windows.Overlapped{OffsetHigh: 0x7fffffff}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, far)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return false, nil
	}
	return err == nil, err
}
