//go:build unix

package agent

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"keyturn/pkg/pam"
)

// Socket is where the agent of a vault listens: in the user's runtime folder,
// else in one of its own below the folder for temporary files. runtimeDir is
// XDG_RUNTIME_DIR, or "".
func Socket(vault pam.UID, runtimeDir string) string {
	dir := filepath.Join(runtimeDir, "keyturn")
	if !filepath.IsAbs(runtimeDir) {
		dir = filepath.Join(os.TempDir(), "keyturn-"+strconv.Itoa(os.Getuid()))
	}
	return filepath.Join(dir, string(vault)+".sock")
}

// listen makes the socket, and its folder, for the user alone.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	dir := filepath.Dir(socket)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, pam.Errorf(pam.ErrIO, "make the agent's folder: %w", err)
	}
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, pam.Errorf(pam.ErrIO, "remove the socket of an agent that is gone: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "start the agent: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(pam.Errorf(pam.ErrIO, "start the agent: %w", err), l.Close())
	}
	return l, nil
}

func dial(ctx context.Context, socket string) (net.Conn, error) {
	if err := checkFolder(filepath.Dir(socket)); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, ErrNone
	}
	return conn, nil
}

// checkFolder refuses a folder in which somebody else could put a socket. A
// missing one holds no agent.
func checkFolder(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNone
	}
	if err != nil {
		return pam.Errorf(pam.ErrIO, "look at the agent's folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Getuid() || info.Mode().Perm()&0o077 != 0 {
		return pam.Errorf(pam.ErrDenied, "%s is not a folder that only you can use; no agent is asked", dir).
			WithHint("chmod 700 %s, if it is yours", dir)
	}
	return nil
}

// samePeer asks the kernel whether the other end is a process of this user.
func samePeer(conn net.Conn) (bool, error) {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return false, nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var uid int
	var failure error
	if err := raw.Control(func(fd uintptr) { uid, failure = peerUID(int(fd)) }); err != nil {
		return false, err
	}
	return failure == nil && uid == os.Getuid(), failure
}
