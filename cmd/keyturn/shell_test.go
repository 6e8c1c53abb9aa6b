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
	master, slave, err := pty.Open()
	if err != nil {
		needtest.Missing(t, "no pseudo terminal here: "+err.Error())
	}
	s := &session{t: t, master: master, slave: slave, news: make(chan struct{}, 1)}
	s.resize(120, 40)
	s.before = s.termios()
	s.cmd = exec.CommandContext(context.Background(), programName, args...)
	s.cmd.Dir, s.cmd.Env = dir, environment(dir)
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

func TestShellCompletesRunsAndLeaves(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456", `record-add -rt pamUser -t "LAB admin" login=LAB\admin`, `record-add -rt pamUser -t svc_app login=LAB\svc_app`)
	s := openShell(t, dir)

	s.send("get sv\t\r")
	s.expect(`Login: LAB\\svc_app\n(?s:.*)My Vault> $`)
	s.send("pam action ser\t li\t -g Em\t\r")
	s.expect(`There are no service mappings`)
	s.send("mkdir Never\x03tree\r") // Ctrl-C drops the line
	s.expect(`My Vault\n(?s:.*)My Vault> $`)
	s.send("record-add -rt login -t \"two  spaces\" login=CORP\\svc_sql password=canary-1\r")
	s.expect(`My Vault> $`)
	s.send("get \"two  spaces\"\r")
	s.expect(`Title: two  spaces\n +Folder: /\n +Login: CORP\\svc_sql\n`)
	s.send("pam action nonsense\r")
	s.expect(`Invalid command: nonsense`)
	s.send("\x1b[A\x1b[A\r") // two lines back
	s.expect(`Title: two  spaces(?s:.*)My Vault> $`)

	s.send("SVC_\x12\r") // Ctrl-R finds the line that holds it
	s.expect(`Login: LAB\\svc_app\n(?s:.*)My Vault> $`)
	s.send("mkdir Prod\r")
	s.expect(`My Vault> $`)
	s.send("cd p\t\r")
	s.expect(`My Vault/Prod> $`)

	s.send("logout\r")
	s.expect(`The vault is locked; no agent was running\.(?s:.*)My Vault> $`)
	s.send("login\r") // its master password comes from a file here
	s.expect(`is unlocked until 15m0s(?s:.*)My Vault> $`)
	s.send("logout\r")
	s.expect(`The vault is locked\.(?s:.*)My Vault> $`)
	s.send("get svc_app\r") // the file opens it again
	s.expect(`Login: LAB\\svc_app\n(?s:.*)My Vault> $`)

	s.send("\x04") // Ctrl-D
	s.ended(0)
	if strings.Contains(s.printed(), "── Never") {
		t.Error("a line that was dropped ran")
	}
	history, err := os.ReadFile(filepath.Join(dir, ".local", "state", programName, "history"))
	if err != nil || strings.Contains(string(history), "canary-1") || !strings.Contains(string(history), "get svc_app\n") {
		t.Errorf("the history is %q, %v", history, err)
	}
}

func TestShellNeverRunsWhatIsPasted(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456", "mkdir Keep")
	s := openShell(t, dir)
	s.send("\x1b[200~rmdir Keep\rmkdir Pasted\r\x1b[201~")
	s.expect(`2 lines were pasted: Enter runs them one by one, .*\n.*My Vault> rmdir Keep$`)
	s.send("\x03")
	s.expect(`Pasted lines that did not run, dropped behind this one: 1\.\nMy Vault> $`)
	s.send("tree\r")
	s.expect(`└── Keep\n`)
	s.send("quit\r")
	s.ended(0)
	if strings.Contains(s.printed(), "mkdir Pasted") {
		t.Error("a pasted line was shown that nobody came to")
	}
}

func TestPastedLinesRunOneByOne(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	s.send("\x1b[200~# it's a comment\rmkdir A   # the first\r\rmkdir \\\r  B\rtree\r\x1b[201~")
	s.expect(`3 lines were pasted.*\n.*My Vault> mkdir A   # the first$`)
	s.send("\r")
	s.expect(`\n.*My Vault> mkdir   B$`)
	s.send("\r")
	s.expect(`\n.*My Vault> tree`)
	s.send("\r")
	s.expect(`├── A\n└── B\n(?s:.*)My Vault> $`)
	s.send("# nothing | here\r")
	s.expect(`My Vault> $`)
	s.send("ls | grep A\r")
	s.expect(`keyturn: \| is a word of other shells: there are no pipes here; nothing was run\nhint: --output FILE`)
	s.send("quit\r")
	s.ended(0)
}

func TestCtrlCDropsALineThatWasToGoOn(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	s.send("mkdir \\\r")
	s.expect(`\.\.\. $`)
	s.send("ha\x03")
	s.expect(`My Vault> $`)
	s.send("tree\r")
	s.expect(`tree\n(?s:.*)My Vault> $`)
	s.send("quit\r")
	s.ended(0)
	if strings.Contains(s.printed(), "── ") {
		t.Error("what was dropped made a folder")
	}
}

// The flags that every command has come behind its own, and say nothing in the marks of
// the source.
func TestACommandsOwnFlagsComeFirst(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	s.send("pam config edit --")
	s.expect(`--admin(?s:.*)--output +write the result to FILE instead`)
	s.send("\x03quit\r")
	s.ended(0)
}

// Ctrl-D within a line takes the letter under the cursor away, and nothing else.
func TestCtrlDWithinALineGoesOn(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	s.send("whoxami\x02\x02\x02\x02\x04\r")
	s.expect(`Records: 0(?s:.*)My Vault> $`)
	s.send("\x04")
	s.ended(0)
}

func TestShellKeepsVariablesAndItsHistory(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456", `record-add -rt pamUser -t svc_app login=LAB\svc_app`)
	s := openShell(t, dir)
	s.send("set WHO svc_app\r")
	s.expect(`My Vault> $`)
	s.send("get ${WHO}\r")
	s.expect(`Login: LAB\\svc_app\n(?s:.*)My Vault> $`)
	s.send("h\r")
	s.expect(`get \$\{WHO\}\nh\nMy Vault> $`) // what set was given might be a secret
	s.send("cls\r")
	s.expect(`My Vault> $`)
	s.send("quit\r")
	s.ended(0)
	if !strings.Contains(s.printed(), "\x1b[H\x1b[2J") {
		t.Error("the screen was not cleared")
	}
}

// Who comes to a locked shell finds no secret that was typed into it.
func TestALockedShellForgetsWhatWasTyped(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	s.send("mkdir Prod\r")
	s.expect(`My Vault> $`)
	s.send("record-add -rt login -t x password=canary-1\r")
	s.expect(`[\w-]{22}\nMy Vault> $`)
	s.send("set PW canary-2\r")
	s.expect(`My Vault> $`)
	s.send("\x1b[A\x1b[A") // while it is open, a mistyped line can be mended
	s.expect(`password=canary-1`)
	s.send("\x03logout\r")
	s.expect(`The vault is locked(?s:.*)My Vault> $`)
	s.send("\x1b[A")
	s.expect(`My Vault> logout`)
	s.send("\x1b[A")
	s.expect(`My Vault> mkdir Prod`)
	s.send("\x03echo ${PW}\r")
	s.expect(`\$\{PW\}\n.*\$\{PW\}\nMy Vault> $`)
	s.send("exit\r")
	s.ended(0)
}

func TestAnIdleShellLocksItself(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456", "mkdir Prod")
	s := openTerm(t, dir, "shell", "--timeout", "2s")
	s.expect(`My Vault> $`)
	s.send("cd Prod\r")
	s.expect(`My Vault/Prod> $`)
	s.send("record-add password=canary") // half a line
	s.expect(`The vault is locked: nothing was typed for 2s\. Jobs that run go on\.\n(?s:.*)My Vault> `)
	s.send("whoami\r") // in an empty line, and the password file opens it again
	s.expect(`Records: 0(?s:.*)My Vault> $`)
	s.expect(`The vault is locked`)
	s.send("exit\r")
	s.ended(0)
}

func TestShellOutlivesResizes(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	for n := range uint16(200) {
		s.send("\r")
		s.resize(40+n%80, 10+n%30)
		_ = s.cmd.Process.Signal(syscall.SIGWINCH)
	}
	s.send("whoami\r")
	s.expect(`Records: 0`)
	s.send("exit\r")
	s.ended(0)
}

// Lines that cannot be parsed are completed too: with nothing, and in silence.
func TestCompletionOfWhatIsWrongIsSilent(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	for _, line := range []string{"pam acton rotate -r svc_app", "nonsense -x y", "pam action rotate --settle abc -r", "get --nothing x"} {
		s.send(line + " \t")
		s.expect(regexp.QuoteMeta(line))
		s.send("\x03") // Ctrl-C drops the line
		s.expect(`My Vault> $`)
	}
	s.send("exit\r")
	s.ended(0)
	if printed := s.printed(); strings.Contains(printed, "[Debug]") || strings.Contains(printed, "rror") {
		t.Errorf("the completion complained:\n%s", printed)
	}
}

func TestCtrlDAtAHiddenPromptChangesNothing(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	s.send("passwd\r")
	s.expect(`assword: $`)
	s.send("\x04")
	s.expect(`(?s)nothing was typed; nothing changed.*My Vault> $`)
	s.send("exit\r")
	s.ended(0)
}

func TestNoKeyIsLostAfterCtrlCAtAHiddenPrompt(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	for range 2 {
		s.send("passwd\r")
		s.expect(`assword: $`)
		s.send("half a pass\x03")
		s.expect(`(?s)interrupted.*My Vault> $`)
		s.send("whoami\r")
		s.expect(`Records: 0(?s:.*)My Vault> $`)
	}
	s.send("exit\r")
	s.ended(0)
}

func TestShellRestoresTheTerminalWhenItIsEnded(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			dir := home(t)
			batch(t, dir, "init --kdf-memory 19456")
			s := openShell(t, dir)
			s.send("half a li")
			s.expect("half a li")
			if err := s.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			s.ended(0)
		})
	}
}
