//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where a child finds its pipes: cmd.ExtraFiles.
const (
	keyFD    = 3
	reportFD = 4
)

// detach gives the process a session of its own, so that no terminal and no
// hang-up reaches it.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}

// passPipes hands the child the pipe with the key and the one for its report.
// The report has a descriptor of its own: a write to standard error whose reader
// is gone would end the child.
func passPipes(cmd *exec.Cmd, key, report *os.File) { cmd.ExtraFiles = []*os.File{key, report} }

func keyPipe() *os.File { return os.NewFile(keyFD, "key") }

func reportPipe() *os.File { return os.NewFile(reportFD, "report") }

// harden keeps memory with secrets out of core files.
func harden() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	undumpable()
}
