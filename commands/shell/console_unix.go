//go:build unix

package shell

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// unixTTY reads a terminal in raw mode without blocking for long, so that no
// reader is left behind to steal a command's input.
type unixTTY struct {
	in, out *os.File
}

func newConsole(in, out *os.File) *console { return &console{tty: &unixTTY{in, out}} }

func (t *unixTTY) raw() (func() error, error) {
	fd := int(t.in.Fd())
	old, err := unix.IoctlGetTermios(fd, ioctlGetTermios)
	if err != nil {
		return nil, err
	}
	raw := *old // a copy: what is restored must not be what was changed
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ICANON | unix.IEXTEN | unix.ISIG | unix.ECHONL
	raw.Cc[unix.VMIN] = 0
	raw.Cc[unix.VTIME] = 1
	if err := unix.IoctlSetTermios(fd, ioctlSetTermios, &raw); err != nil {
		return nil, err
	}
	return func() error { return unix.IoctlSetTermios(fd, ioctlSetTermios, old) }, nil
}

func (t *unixTTY) read(buf []byte) (int, error) {
	n, err := unix.Read(int(t.in.Fd()), buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return max(n, 0), err
}

func (t *unixTTY) size() (columns, rows int) {
	w, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(w.Col), int(w.Row)
}

func (t *unixTTY) write(text string) { _, _ = t.out.WriteString(text) }
