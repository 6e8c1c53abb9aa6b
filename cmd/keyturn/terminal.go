package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"keyturn/commands"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// maxTyped bounds a line that is typed.
const maxTyped = 4096

// readSecret asks for a secret on the terminal, which does not show it.
func readSecret(ctx context.Context, prompt string) (secret.Value, error) {
	line, err := ask(ctx, prompt, quiet)
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(line), nil
}

// readLine asks a question on the terminal.
func readLine(ctx context.Context, prompt string) (string, error) {
	line, err := ask(ctx, prompt, func(*os.File) (func(), error) { return nil, nil })
	return string(line), err
}

// ask reads one line from the terminal. prepare may change the terminal, and
// whatever happens it is as before when ask returns.
func ask(ctx context.Context, prompt string, prepare func(*os.File) (func(), error)) ([]byte, error) {
	in, out, err := openTerminal()
	if err != nil {
		return nil, commands.ErrNoTerminal
	}
	defer out.Close() //nolint:errcheck // nothing is buffered
	defer in.Close()  //nolint:errcheck // may be the same file
	restore, err := prepare(in)
	if err != nil {
		return nil, commands.ErrNoTerminal
	}
	if restore != nil {
		defer fmt.Fprintln(out) // the typed line break was not shown
		defer restore()
	}
	fmt.Fprint(out, prompt)

	line, err := answer(ctx, in)
	if errors.Is(err, io.EOF) { // Ctrl-D on an empty line
		return nil, pam.Errorf(pam.ErrInterrupted, "nothing was typed; nothing changed")
	}
	return line, err
}

// typed reads a line byte by byte, so that nothing of the next one is lost.
func typed(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, maxTyped)
	var b [1]byte
	for len(line) < maxTyped {
		n, err := r.Read(b[:])
		if n == 1 && b[0] != '\n' {
			line = append(line, b[0])
			continue
		}
		if n == 1 || errors.Is(err, io.EOF) && len(line) > 0 {
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		if err != nil {
			return nil, err
		}
	}
	clear(line)
	return nil, fmt.Errorf("the line is longer than %d characters", maxTyped)
}
