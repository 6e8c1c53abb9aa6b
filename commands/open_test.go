//go:build !windows

package commands

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"keyturn/pkg/pam"
)

// A pipe that nobody writes to is waited for until the command is interrupted.
func TestAPipeIsWaitedForUntilTheInterrupt(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	d := &Deps{}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := d.open(ctx, pipe); !errors.Is(err, context.Canceled) || unreadable(pam.ErrIO, err) != pam.ErrInterrupted {
		t.Fatalf("nobody opened the other end: %v", err)
	}
	// Opening both ways lets the abandoned reader in, which then goes away.
	w, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // nothing is written
	ctx, interrupt = context.WithCancel(t.Context())
	f, err := d.open(ctx, pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is closed by the interrupt
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(f)
		done <- err
	}()
	interrupt()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("nobody wrote: %v", err)
	}
}
