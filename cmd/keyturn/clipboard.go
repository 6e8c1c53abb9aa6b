package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// clipboardWait is how long a clipboard tool may take: it hands over a few bytes
// and goes to the background.
const clipboardWait = 10 * time.Second

// clipboardTools are the commands that read what they copy from standard input,
// the best first.
func clipboardTools() [][]string {
	switch runtime.GOOS {
	case "windows":
		return [][]string{{"clip.exe"}}
	case "darwin":
		return [][]string{{"pbcopy"}}
	}
	tools := [][]string{{"xclip", "-selection", "clipboard"}, {"xsel", "--clipboard", "--input"}}
	if os.Getenv("WAYLAND_DISPLAY") != "" {
		tools = append([][]string{{"wl-copy"}}, tools...)
	}
	return tools
}

// noDisplay is why no tool can work where there is no desktop, as over SSH; "" where
// there is one, or where tools need none.
func noDisplay() string {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" || os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "" {
		return ""
	}
	return ", as there is no display here (DISPLAY and WAYLAND_DISPLAY are not set)"
}

// copyToClipboard hands a value to the first tool that this computer has, on its
// standard input: never on a command line.
func copyToClipboard(ctx context.Context, value secret.Value) error {
	const instead = "--output stdout prints the value"
	if runtime.GOOS == "windows" && bytes.ContainsFunc(value.Reveal(), func(r rune) bool { return r >= 0x80 }) {
		// clip.exe reads the code page of the console, whatever that is.
		return pam.Errorf(pam.ErrInvalidInput, "clip.exe cannot copy characters outside of ASCII; nothing was copied").WithHint(instead)
	}
	var names []string
	for _, tool := range clipboardTools() {
		names = append(names, tool[0])
		path, err := exec.LookPath(tool[0])
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, clipboardWait)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, tool[1:]...) //nolint:gosec // one of the tools above
		cmd.Stdin = bytes.NewReader(value.Reveal())
		if err := cmd.Run(); err != nil {
			return pam.Errorf(pam.ErrIO, "%s did not copy to the clipboard%s: %w", tool[0], noDisplay(), err).WithHint(instead)
		}
		return nil
	}
	return pam.Errorf(pam.ErrIO, "no tool for the clipboard was found (%s); nothing was copied", strings.Join(names, ", ")).
		WithHint(instead)
}
