//go:build unix

package agent_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/vault/agent"
)

// asStranger makes the test binary ask a socket for its key.
const asStranger = "KEYTURN_AGENT_TEST_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(asStranger); socket != "" {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			os.Exit(3)
		}
		_, _ = conn.Write([]byte(`{"op":"key"}` + "\n"))
		b := make([]byte, 1)
		if n, _ := conn.Read(b); n != 0 {
			os.Exit(4)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// socketOf is where the agent of a test listens.
func socketOf(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kt") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "a.sock")
}

func warm(*testing.T, string) {}

func dialRaw(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func endWriting(conn net.Conn) { _ = conn.(*net.UnixConn).CloseWrite() }

func TestTheSocketIsOfItsUserAloneAndGoesWithTheAgent(t *testing.T) {
	t.Parallel()
	socket, ended := start(t, time.Hour)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if err := agent.Lock(t.Context(), socket); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

// A stopped process keeps its key: it is not none, and another agent does not take its
// socket, which the first would remove from under it when it goes on.
func TestAnAgentThatDoesNotAnswerIsNotNone(t *testing.T) {
	t.Parallel()
	socket := socketOf(t)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it never answered
	if err := agent.Lock(t.Context(), socket); errors.Is(err, agent.ErrNone) || !errors.Is(err, pam.ErrIO) {
		t.Errorf("locked with %v", err)
	}
	if _, err := agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Idle: time.Hour, Now: time.Now}); !errors.Is(err, pam.ErrIO) {
		t.Errorf("another agent: %v", err)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("its socket: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := agent.Lock(ctx, socket); errors.Is(err, agent.ErrNone) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestAFolderOfOthersHoldsNoAgent(t *testing.T) {
	t.Parallel()
	socket, _ := start(t, time.Hour)
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Key(t.Context(), socket); !errors.Is(err, pam.ErrDenied) {
		t.Errorf("%v", err)
	}
	if _, err := agent.Key(t.Context(), filepath.Join(t.TempDir(), "none", "a.sock")); !errors.Is(err, agent.ErrNone) {
		t.Errorf("without a folder: %v", err)
	}
}

// Whoever reaches the socket and is another user hears nothing, not even that
// there is an agent.
func TestAStrangerHearsNothing(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		needtest.Missing(t, "root is needed to be somebody else")
	}
	socket, _ := start(t, time.Hour)
	for path, mode := range map[string]os.FileMode{filepath.Dir(socket): 0o755, socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(filepath.Dir(socket), "stranger") // where nobody may read it
	b, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(copied, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), copied)
	c.Env = append(os.Environ(), asStranger+"="+socket)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("the stranger: %v\n%s", err, out)
	}
}
