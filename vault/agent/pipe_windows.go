package agent

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"

	"keyturn/pkg/pam"
)

// Socket is the named pipe on which the agent of a vault listens. Its name has
// the user's SID, so that no two users want the same one, and the UID in
// hexadecimal, because names of pipes ignore case. Everybody may make a pipe of
// any name: who made it is asked of Windows (samePeer).
func Socket(vault pam.UID, _ string) string {
	return fmt.Sprintf(`\\.\pipe\keyturn-agent-%s-%x`, self(), string(vault))
}

// self is the SID of this process's user. It is nil, which equals nobody, if
// Windows does not tell.
func self() *windows.SID { return userOf(windows.GetCurrentProcessToken()) }

func userOf(t windows.Token) *windows.SID {
	u, err := t.GetTokenUser()
	if err != nil {
		return nil
	}
	return u.User.Sid
}

// access lets the user in and nobody else: nobody over the network, whoever it
// is. An administrator can make it his own, as he can read any memory.
func access(user *windows.SID) string {
	return fmt.Sprintf("O:%[1]sD:P(D;;FA;;;NU)(A;;FA;;;%[1]s)", user)
}

// listen makes the pipe, and fails if there is one of its name.
func listen(_ context.Context, socket string) (net.Listener, error) {
	l, err := winio.ListenPipe(socket, &winio.PipeConfig{SecurityDescriptor: access(self())})
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_FILE_EXISTS) || errors.Is(err, windows.ERROR_PIPE_BUSY) {
		return nil, squatted(socket)
	}
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "start the agent: %w", err)
	}
	return l, nil
}

// squatted says that a pipe has our name and is not ours.
func squatted(socket string) error {
	return pam.Errorf(pam.ErrDenied, "another process holds the pipe %s; no agent is started or asked", socket).
		WithHint("find the process and ask who started it; without an agent, every command asks for what opens the vault")
}

func dial(ctx context.Context, socket string) (net.Conn, error) {
	conn, err := winio.DialPipeContext(ctx, socket) // as nobody: the other end cannot act as this user
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, windows.ERROR_ACCESS_DENIED), errors.Is(err, context.DeadlineExceeded):
		return nil, squatted(socket)
	}
	return nil, ErrNone
}

// samePeer asks Windows whether the other end is a process of this user. Of a
// server it is asked twice: its number may name another process by now, while
// nobody but this user and administrators can make a pipe that this user owns.
func samePeer(conn net.Conn) (bool, error) {
	c, ok := conn.(interface{ Fd() uintptr })
	if !ok {
		return false, nil
	}
	pipe := windows.Handle(c.Fd())
	var flags, pid uint32
	if err := windows.GetNamedPipeInfo(pipe, &flags, nil, nil, nil); err != nil {
		return false, err
	}
	if flags&windows.PIPE_SERVER_END != 0 {
		if err := windows.GetNamedPipeClientProcessId(pipe, &pid); err != nil {
			return false, err
		}
		return runsAsSelf(pid)
	}
	sd, err := windows.GetSecurityInfo(pipe, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return false, err
	}
	if owner, _, err := sd.Owner(); err != nil || !same(owner, self()) {
		return false, err
	}
	if err := windows.GetNamedPipeServerProcessId(pipe, &pid); err != nil {
		return false, err
	}
	return runsAsSelf(pid)
}

func runsAsSelf(pid uint32) (bool, error) {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return false, err
	}
	defer windows.CloseHandle(process) //nolint:errcheck // only asked
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return false, err
	}
	defer token.Close() //nolint:errcheck // only asked
	return same(userOf(token), self()), nil
}

func same(a, b *windows.SID) bool { return a != nil && b != nil && a.Equals(b) }
