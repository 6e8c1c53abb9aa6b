//go:build linux || darwin

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

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

func TestTheKeysOfEmacs(t *testing.T) {
	t.Parallel()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456")
	s := openShell(t, dir)
	for name, keys := range map[string]string{
		"Alt-Backspace takes a word":             "whoami junk\x1b\x7f",
		"Alt-B goes back a word, Ctrl-U kills":   "日本 語 whoami\x1bb\x15",
		"Alt-D takes the next word":              "日本語 whoami\x01\x1bd",
		"Ctrl-Left and Ctrl-Right go by words":   "junk ami\x1b[1;5D\x15who\x1b[1;5C",
		"Ctrl-Y brings back what was taken last": "ami\x15who\x19",
		"Ctrl-W and Alt-F":                       "whoami a b\x01\x1bf\x0b",
	} {
		s.send(keys + "\r")
		s.expect(`Records: 0(?s:.*)My Vault> $`)
		t.Log(name)
	}
	s.send("secret\x15logout\r")
	s.expect(`The vault is locked(?s:.*)My Vault> $`)
	s.send("x\x19y")
	s.expect(`My Vault> xy`) // who comes to a locked shell is not given what was typed
	s.send("\x03\x04")
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
	s.send("\x03\x1b[200~logout\rset PW canary-3\r\x1b[201~")
	s.expect(`2 lines were pasted(?s:.*)My Vault> logout`)
	s.send("\r")
	s.expect(`The vault is locked(?s:.*)dropped behind this one: 1\.\nMy Vault> $`)
	s.send("\x1b[A")
	s.expect(`My Vault> logout`)
	s.send("\x1b[A")
	s.expect(`My Vault> mkdir Prod`)
	s.send("\x03echo ${PW}\r")
	s.expect(`\$\{PW\}\n.*\$\{PW\}\nMy Vault> $`)
	s.send("exit\r")
	s.ended(0)
	if strings.Contains(s.printed(), "canary-3") {
		t.Error("a pasted secret was shown after the lock")
	}
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
