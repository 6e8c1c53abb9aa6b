//go:build !linux

package sshtest

import (
	"errors"
	"os/exec"
)

func cannotIsolate() string { return "it needs Linux" }

func isolate(*exec.Cmd) {}

func lockFile(string) (func(), error) { return nil, errors.New("it needs Linux") }
