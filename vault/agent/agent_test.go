//go:build unix

package agent_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
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

func key() secret.Value { return secret.New([]byte("0123456789abcdef0123456789abcdef")) }

// start runs an agent until the test ends and returns its socket. ended is
// closed when it has ended by itself.
func start(t *testing.T, idle time.Duration) (socket string, ended chan error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "kt") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "a.sock")
	a, err := agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Slot: "0a1b2c3d", Idle: idle, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- a.Serve(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return socket, ended
}

func TestAnAgentGivesItsKeyUntilItIsLocked(t *testing.T) {
	t.Parallel()
	socket, ended := start(t, time.Hour)
	for range 3 {
		held, err := agent.Key(t.Context(), socket)
		if err != nil || !held.Key.Equal(key()) || held.Slot != "0a1b2c3d" || time.Until(held.Until) < 50*time.Minute {
			t.Fatalf("%+v, %v", held, err)
		}
	}
	_, err := agent.Listen(t.Context(), key(), agent.Options{Socket: socket, Idle: time.Hour, Now: time.Now})
	if !errors.Is(err, pam.ErrConflict) {
		t.Errorf("a second agent: %v", err)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if err := agent.Lock(t.Context(), socket); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := agent.Key(t.Context(), socket); !errors.Is(err, agent.ErrNone) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestAnIdleAgentEnds(t *testing.T) {
	t.Parallel()
	socket, ended := start(t, 20*time.Millisecond)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := agent.Lock(t.Context(), socket); !errors.Is(err, agent.ErrNone) {
		t.Errorf("after its end: %v", err)
	}
}

func TestWhatIsNoRequestEndsNothing(t *testing.T) {
	t.Parallel()
	socket, _ := start(t, time.Hour)
	for _, text := range []string{"", "\n", "{}\n", `{"op":"dump"}` + "\n", strings.Repeat("x", 1<<16), "no newline"} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.(*net.UnixConn).CloseWrite()
		b := make([]byte, 256)
		n, _ := conn.Read(b)
		if strings.Contains(string(b[:n]), `"ok":true`) || strings.Contains(string(b[:n]), "0123456789abcdef") {
			t.Errorf("%.20q was answered with %q", text, b[:n])
		}
		_ = conn.Close()
	}
	if _, err := agent.Key(t.Context(), socket); err != nil {
		t.Error(err)
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
