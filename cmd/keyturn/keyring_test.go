//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keyturn/pkg/needtest"
)

// TestKeyringScript runs the stories that need a keyring, each with a real one: a
// Secret Service on a message bus of its own. It is not parallel to the others:
// a keyring that shares the computer with them might not answer in time.
func TestKeyringScript(t *testing.T) {
	for _, program := range []string{"dbus-daemon", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			needtest.Missing(t, "a Secret Service is needed (dbus-daemon, gnome-keyring-daemon): "+err.Error())
		}
	}
	cmds := scriptCommands()
	cmds["keyring"] = word("keyring", cmdKeyring)
	testscript.Run(t, testscript.Params{
		Dir: "../../testdata/keyring", RequireExplicitExec: true, RequireUniqueNames: true, Cmds: cmds,
		Setup: func(e *testscript.Env) error {
			if err := setup(e); err != nil {
				return err
			}
			return startBus(e)
		},
	})
}

// busConfig is a bus that starts no programs by itself: a test must not wake up
// a keyring that it does not end.
const busConfig = `<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
`

// daemons are the processes of each story's keyring, by its folder's variable.
type daemonsKey struct{}

// startBus starts a message bus for a story and sets the variables that lead there.
func startBus(e *testscript.Env) error {
	// A socket's path has 108 bytes at most; a story's folder may be longer.
	dir, err := os.MkdirTemp("", "keyring")
	if err != nil {
		return err
	}
	e.Defer(func() { _ = os.RemoveAll(dir) })
	bus, env, err := newBus(dir)
	if err != nil {
		return err
	}
	e.Defer(func() { end(bus) })
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		e.Setenv(name, value)
	}
	e.Values[daemonsKey{}] = &daemon{}
	return nil
}

// newBus starts a message bus in a folder and returns the variables that lead there.
func newBus(dir string) (bus *exec.Cmd, env []string, err error) {
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, filepath.Join(dir, "bus")), 0o600); err != nil {
		return nil, nil, err
	}
	bus = exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--print-address", "--config-file="+config)
	address, err := bus.StdoutPipe()
	if err == nil {
		err = bus.Start()
	}
	if err != nil {
		return nil, nil, err
	}
	line, err := bufio.NewReader(address).ReadString('\n')
	if err != nil {
		end(bus)
		return nil, nil, fmt.Errorf("the bus does not say where it is: %w", err)
	}
	return bus, []string{
		"DBUS_SESSION_BUS_ADDRESS=" + strings.TrimSpace(line), "XDG_RUNTIME_DIR=" + dir, "XDG_DATA_HOME=" + filepath.Join(dir, "data"),
	}, nil
}

// A daemon is the keyring of a story; cmd is nil while none runs.
type daemon struct{ cmd *exec.Cmd }

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// cmdKeyring works on the story's keyring: keyring start unlocks one, keyring
// stop ends it, keyring deafen lets it answer nothing more.
func cmdKeyring(ts *testscript.TestScript, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: keyring start | stop | deafen")
	}
	d, _ := ts.Value(daemonsKey{}).(*daemon)
	switch args[0] {
	case "start":
		d.cmd = startKeyring(ts)
		ts.Defer(func() { end(d.cmd) })
	case "stop":
		end(d.cmd)
	case "deafen":
		ts.Check(d.cmd.Process.Signal(syscall.SIGSTOP))
	default:
		ts.Fatalf("unknown word %q", args[0])
	}
}

// startKeyring starts a story's Secret Service.
func startKeyring(ts *testscript.TestScript) *exec.Cmd {
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	cmd, err := newKeyring(ts.Getenv("XDG_RUNTIME_DIR"), env)
	ts.Check(err)
	return cmd
}

// newKeyring starts a Secret Service with an unlocked keyring, and waits until the
// bus knows it.
func newKeyring(dir string, env []string) (*exec.Cmd, error) {
	cmd := exec.Command("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets", "--control-directory="+dir)
	cmd.Stdin = strings.NewReader("the keyring's own password")
	cmd.Env = env
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	for {
		owned := exec.CommandContext(ctx, "dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/",
			"org.freedesktop.DBus.GetNameOwner", "string:org.freedesktop.secrets")
		owned.Env = env
		if err := owned.Run(); err == nil {
			return cmd, nil
		} else if errors.Is(err, exec.ErrNotFound) || ctx.Err() != nil {
			end(cmd)
			return nil, fmt.Errorf("the keyring does not come: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
