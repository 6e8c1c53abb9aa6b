//go:build linux || darwin

package main

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Several programs of a person may log in at once: each ends with an agent that
// answers, and none of the agents that were replaced stays behind with the key.
func TestLoginsAtOnceAllSucceed(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	program := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(context.Background(), programName, args...)
		c.Dir, c.Env = dir, environment(dir)
		return c
	}
	t.Cleanup(func() { _ = program("logout").Run() })
	var logins sync.WaitGroup
	for range 4 {
		logins.Go(func() {
			if out, err := program("login").CombinedOutput(); err != nil || !strings.Contains(string(out), "is unlocked until") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	logins.Wait()
	out, err := program("logout").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "The vault is locked.") {
		t.Errorf("logout: %v: %s", err, out)
	}
	if out, err := program("logout").CombinedOutput(); err != nil || !strings.Contains(string(out), "no agent was running") {
		t.Errorf("another agent was left behind: %v: %s", err, out)
	}
}
