//go:build linux || darwin

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"keyturn/pkg/needtest"
)

// A session is a shell in a terminal of its own, and what it printed.
type session struct {
	t             *testing.T
	master, slave *os.File
	cmd           *exec.Cmd
	before        unix.Termios // how the terminal was

	mu     sync.Mutex
	screen bytes.Buffer // all that was printed
	seen   int          // up to here it was expected
	news   chan struct{}
}

// home is a folder with a vault whose master password is in the file master.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "master"), []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func environment(dir string) []string {
	return []string{
		noSleep, "PATH=" + os.Getenv("PATH"), "HOME=" + dir, "KEYTURN_HOME=" + filepath.Join(dir, "home"), "TERM=xterm",
		"KEYTURN_PASSWORD_FILE=" + filepath.Join(dir, "master"),
	}
}

// batch runs lines as one program, which must succeed.
func batch(t *testing.T, dir string, lines ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), programName, "-")
	c.Dir, c.Env, c.Stdin = dir, environment(dir), strings.NewReader(strings.Join(lines, "\n"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// openShell starts the shell over the vault of a folder and waits for its prompt.
func openShell(t *testing.T, dir string) *session {
	t.Helper()
	s := openTerm(t, dir)
	s.expect(`My Vault> $`)
	return s
}

// openTerm starts the program over the vault of a folder in a terminal of its own.
func openTerm(t *testing.T, dir string, args ...string) *session {
	t.Helper()
	return openTermWith(t, dir, environment(dir), args...)
}

func openTermWith(t *testing.T, dir string, env []string, args ...string) *session {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		needtest.Missing(t, "no pseudo terminal here: "+err.Error())
	}
	s := &session{t: t, master: master, slave: slave, news: make(chan struct{}, 1)}
	s.resize(120, 40)
	s.before = s.termios()
	s.cmd = exec.CommandContext(context.Background(), programName, args...)
	s.cmd.Dir, s.cmd.Env = dir, env
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.read()
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // of no matter when it has ended
		_ = slave.Close()
		_ = master.Close()
		<-read
	})
	return s
}

func (s *session) read() {
	buf := make([]byte, 4096)
	for {
		n, err := s.master.Read(buf)
		s.mu.Lock()
		s.screen.Write(buf[:n])
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (s *session) termios() unix.Termios {
	s.t.Helper()
	state, err := unix.IoctlGetTermios(int(s.slave.Fd()), getTermios)
	if err != nil {
		s.t.Fatal(err)
	}
	return *state
}

func (s *session) resize(columns, rows uint16) {
	s.t.Helper()
	if err := pty.Setsize(s.master, &pty.Winsize{Cols: columns, Rows: rows}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) send(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// Escape sequences that only move or colour.
var decoration = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\r")

// text is what was printed since the last expect, without decoration.
func (s *session) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return decoration.ReplaceAllString(string(s.screen.Bytes()[s.seen:]), "")
}

// printed is all that was printed, as it came.
func (s *session) printed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.String()
}

// expect waits until what was printed since the last expect matches.
func (s *session) expect(pattern string) {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	s.await(pattern+" was not printed", func() bool {
		s.mu.Lock()
		all := s.screen.Len()
		s.mu.Unlock()
		if !re.MatchString(s.text()) {
			return false
		}
		s.seen = all
		return true
	})
}

// await waits until something is true of what was printed.
func (s *session) await(complaint string, holds func() bool) {
	s.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-s.news:
		case <-deadline.C:
			s.t.Fatalf("%s; the screen shows\n%s", complaint, s.text())
		}
	}
}

// ended waits for the end of the shell and looks at the terminal it leaves.
func (s *session) ended(code int) {
	s.t.Helper()
	s.exited(code)
	s.await("bracketed paste was left on", func() bool {
		printed := s.printed()
		return strings.LastIndex(printed, "\x1b[?2004h") < strings.LastIndex(printed, "\x1b[?2004l")
	})
}

// exited waits for the end of the program.
func (s *session) exited(code int) {
	s.t.Helper()
	end := make(chan struct{})
	go func() {
		defer close(end)
		_ = s.cmd.Wait() // the exit code says how
	}()
	select {
	case <-end:
	case <-time.After(30 * time.Second):
		s.t.Fatalf("the shell goes on; it shows\n%s", s.text())
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("exit code %d, want %d", got, code)
	}
	if now := s.termios(); now != s.before {
		s.t.Errorf("the terminal was left as\n%+v, it was\n%+v", now, s.before)
	}
}
