package main

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

func TestWithoutAToolForTheClipboardNothingIsCopied(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := copyToClipboard(t.Context(), secret.Copy([]byte("canary")))
	if pam.KindOf(err) != pam.ErrIO || !strings.Contains(err.Error(), "nothing was copied") || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(pam.HintOf(err), "--output stdout") {
		t.Errorf("hint %q", pam.HintOf(err))
	}
}

func TestAClipboardToolThatFailsIsNamed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	t.Setenv("WAYLAND_DISPLAY", "")
	t.Setenv("DISPLAY", ":0")
	tool := clipboardTools()[0][0]
	if err := os.WriteFile(dir+string(os.PathSeparator)+tool, []byte("#!/bin/sh\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := copyToClipboard(t.Context(), secret.Copy([]byte("canary")))
	if err == nil || !strings.Contains(err.Error(), tool) || strings.Contains(err.Error(), "no display") {
		t.Errorf("got %v", err)
	}
	t.Setenv("DISPLAY", "")
	wanted := runtime.GOOS != "windows" && runtime.GOOS != "darwin"
	if err := copyToClipboard(t.Context(), secret.Copy([]byte("canary"))); strings.Contains(err.Error(), "no display") != wanted {
		t.Errorf("without a display: got %v", err)
	}
}
