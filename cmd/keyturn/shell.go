package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"keyturn/commands/shell"
	"keyturn/pkg/pam"
)

// shell unlocks the vault and runs the prompt over it. Without a vault the
// prompt comes up all the same: "init" is typed there.
func (p *process) shell(ctx context.Context, idle time.Duration) error {
	if _, err := p.vault(ctx); err != nil && !errors.Is(err, pam.ErrNotFound) {
		return err
	}
	return shell.Run(ctx, shell.Options{
		Deps: p.d, In: os.Stdin, Out: os.Stdout, History: historyFile(), Silently: silently, Idle: idle,
	})
}

// silently runs f without the process's standard error. Of a line that it cannot
// parse, cobra's completion complains there, past every writer that it was given
// (CompErrorln), and the complaint would stand in the middle of what is typed.
// All of the program's own code writes to [commands.Deps.Err], which stays; nobody
// else reads os.Stderr once it is wired.
func silently(f func()) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		f()
		return
	}
	defer null.Close() //nolint:errcheck // nothing is kept there
	kept := os.Stderr
	os.Stderr = null
	defer func() { os.Stderr = kept }()
	f()
}

// historyFile is where lines typed before are kept: beside no vault, since it
// names what is in them. "" keeps none.
func historyFile() string { return stateFile("history") }

// stateFile is the path of something that the program remembers on this computer,
// apart from any vault; "" where there is no place for it.
func stateFile(name string) string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, programName, name)
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		if dir, err := dataDir(); err == nil {
			return filepath.Join(dir, programName+"-"+name)
		}
		return ""
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", programName, name)
}
