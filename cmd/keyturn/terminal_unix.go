//go:build unix

package main

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal opens the terminal of this process whatever its standard streams
// are. The two files are one.
func openTerminal() (in, out *os.File, err error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return tty, tty, err
}

// readerGone says that a write failed because nobody reads there any more.
func readerGone(err error) bool { return errors.Is(err, unix.EPIPE) }

// screenColumns is how wide a terminal is; zero when it does not say.
func screenColumns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// quiet turns off echo and returns what turns it on again.
func quiet(in *os.File) (restore func(), err error) {
	fd := int(in.Fd())
	old, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	silent := *old
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	silent.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, setTermios, &silent); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, setTermios, old) }, nil
}

// answer reads a line that is typed on in, which hands over whole lines. Nobody
// reads before there is one: a read that an interrupt left behind would take the
// first key of what is typed next.
func answer(ctx context.Context, in *os.File) ([]byte, error) {
	ended, end, err := os.Pipe() // readable once ctx has ended
	if err != nil {
		return nil, err
	}
	defer ended.Close() //nolint:errcheck // nothing is written to it
	defer end.Close()   //nolint:errcheck // may be closed already
	stop := context.AfterFunc(ctx, func() { _ = end.Close() })
	defer stop()
	for {
		var ready unix.FdSet
		ready.Set(int(in.Fd()))
		ready.Set(int(ended.Fd()))
		// poll would be simpler, and does not work with terminals on macOS.
		_, err := unix.Select(int(max(in.Fd(), ended.Fd()))+1, &ready, nil, nil, nil)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case ready.IsSet(int(in.Fd())):
			return typed(in)
		}
	}
}
