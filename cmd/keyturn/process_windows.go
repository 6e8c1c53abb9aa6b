package main

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// detach gives the process no console and a group of its own, so that Ctrl-C
// and closing the window do not reach it.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS, HideWindow: true,
	}
}

// passPipes uses standard input and output: Windows passes no other handles by
// number.
func passPipes(cmd *exec.Cmd, key, report *os.File) { cmd.Stdin, cmd.Stdout = key, report }

func keyPipe() *os.File { return os.Stdin }

func reportPipe() *os.File { return os.Stdout }

// harden does nothing: Windows writes no core files by itself.
func harden() {}
