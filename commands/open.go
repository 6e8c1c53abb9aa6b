package commands

import (
	"context"
	"errors"
	"os"

	"keyturn/pkg/pam"
)

// A namedFile is a file that the user names, opened for reading.
type namedFile struct {
	*os.File
	release     func() bool
	interrupted func() error
}

// Read reads, and says so where it was interrupted.
func (f namedFile) Read(b []byte) (int, error) {
	n, err := f.File.Read(b)
	if stopped := f.interrupted(); err != nil && stopped != nil {
		err = stopped
	}
	return n, err
}

// regular reports whether the file has an end that is there already.
func (f namedFile) regular() bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// Close closes the file.
func (f namedFile) Close() error {
	f.release()
	return f.File.Close()
}

// open opens a file that the user names. It may be a pipe that nobody writes to:
// the end of ctx ends the wait for it, and for what it holds.
func (d *Deps) open(ctx context.Context, name string) (namedFile, error) {
	path, err := d.path(name)
	if err != nil {
		return namedFile{}, err
	}
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.Open(path) //nolint:gosec // the user names the file
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return namedFile{}, o.err
		}
		return namedFile{o.file, context.AfterFunc(ctx, func() { _ = o.file.Close() }), ctx.Err}, nil
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				_ = o.file.Close()
			}
		}()
		return namedFile{}, ctx.Err()
	}
}

// unreadable is the kind of a failure to read a file: kind, unless it was interrupted.
func unreadable(kind pam.Kind, err error) pam.Kind {
	if errors.Is(err, context.Canceled) {
		return pam.ErrInterrupted
	}
	return kind
}
