package sshtest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

func cannotIsolate() string {
	if os.Geteuid() != 0 {
		return "it needs root"
	}
	c := exec.Command("/bin/true") //nolint:noctx // ends at once
	isolate(c)
	if err := c.Run(); err != nil {
		return "namespaces of its own are refused: " + err.Error()
	}
	return ""
}

// isolate gives c mounts and processes of its own, and ends it with us.
func isolate(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
}

func lockFile(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // a test's own file
	if err != nil {
		return nil, err
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}
