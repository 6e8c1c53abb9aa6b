package main

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// openTerminal opens the console of this process whatever its standard streams
// are.
func openTerminal() (in, out *os.File, err error) {
	if in, err = os.OpenFile("CONIN$", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	if out, err = os.OpenFile("CONOUT$", os.O_RDWR, 0); err != nil {
		_ = in.Close()
		return nil, nil, err
	}
	return in, out, nil
}

// readerGone says that a write failed because nobody reads there any more.
func readerGone(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}

// screenColumns is how much of a line a console shows; zero when it does not say. A
// character in the last column takes some consoles to the next line, and the line
// break after it to one more.
func screenColumns(f *os.File) int {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info); err != nil {
		return 0
	}
	return max(0, int(info.Window.Right)-int(info.Window.Left))
}

// quiet turns off echo and returns what turns it on again.
func quiet(in *os.File) (restore func(), err error) {
	var old uint32
	h := windows.Handle(in.Fd())
	if err := windows.GetConsoleMode(h, &old); err != nil {
		return nil, err
	}
	silent := old&^windows.ENABLE_ECHO_INPUT | windows.ENABLE_LINE_INPUT | windows.ENABLE_PROCESSED_INPUT
	if err := windows.SetConsoleMode(h, silent); err != nil {
		return nil, err
	}
	return func() { _ = windows.SetConsoleMode(h, old) }, nil
}

// answer reads a line that is typed on in. A read of a console cannot be
// cancelled, but Ctrl-C ends it.
func answer(ctx context.Context, in *os.File) ([]byte, error) {
	type result struct {
		line []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := typed(in)
		read <- result{line, err}
	}()
	select {
	case r := <-read:
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return r.line, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
