package sshd

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// A Shell is what OpenSSH for Windows hands a command to: cmd.exe, unless the
// value DefaultShell of HKLM\SOFTWARE\OpenSSH names another one.
type Shell string

// The default shells.
const (
	CMD        Shell = "cmd"        // cmd.exe /c "LINE"
	PowerShell Shell = "powershell" // powershell.exe -c "LINE"; its profile runs first
	Bash       Shell = "bash"       // bash.exe -c "LINE"
)

// Shells are all of them.
func Shells() []Shell { return []Shell{CMD, PowerShell, Bash} }

func (s Shell) check() error {
	if slices.Contains(Shells(), s) {
		return nil
	}
	return fmt.Errorf("there is no default shell %q (known: %v)", s, Shells())
}

// Exit codes of a shell that did not start anything.
const (
	exitSyntax  = 1
	exitBash    = 2
	exitTooLong = 1
)

// maxLine is what cmd.exe takes, and CreateProcess otherwise.
func (s Shell) maxLine() int {
	if s == CMD {
		return 8191
	}
	return 32767
}

// special are the characters outside quotes that would make the shell do
// something else than start one program with the words as they are.
func (s Shell) special() string {
	switch s {
	case PowerShell:
		return "$`;|&<>(){}@#,%"
	case Bash:
		return "$`\\;|&<>(){}*?[]~#!"
	default:
		return "&|<>^%"
	}
}

// A complaint is what a shell says, and exits with, instead of starting anything.
type complaint struct {
	text string
	exit int
}

// read is how the shell reads a line. The lab does not imitate three languages:
// a line that one of them would change, by a variable, an escape or the code
// page, is not started at all, so that a client that needs one particular shell
// is found out here.
func (s Shell) read(line string) *complaint {
	if len(line) > s.maxLine() {
		return &complaint{"The command line is too long.\r\n", exitTooLong}
	}
	quote := rune(0)
	for _, r := range line {
		switch {
		case r > unicode.MaxASCII || unicode.IsControl(r):
			return s.syntax(fmt.Sprintf("%q", r))
		case strings.ContainsRune(s.specialIn(quote), r):
			return s.syntax(string(r))
		case quote == r:
			quote = 0
		case quote == 0 && s.quotes(r):
			quote = r
		}
	}
	if quote != 0 && s != CMD {
		return s.syntax(string(quote))
	}
	return nil
}

// quotes reports whether r begins a quotation.
func (s Shell) quotes(r rune) bool { return r == '"' || r == '\'' && s != CMD }

// specialIn is special within a quotation, 0 for none.
func (s Shell) specialIn(quote rune) string {
	switch {
	case quote == 0:
		return s.special()
	case quote == '"' && s != CMD:
		return "$`\\"
	default:
		return ""
	}
}

func (s Shell) syntax(at string) *complaint {
	switch s {
	case PowerShell:
		return &complaint{"Unexpected token '" + at + "' in expression or statement.\r\n", exitSyntax}
	case Bash:
		return &complaint{"bash: -c: line 1: syntax error near unexpected token `" + at + "'\n", exitBash}
	default:
		return &complaint{at + " was unexpected at this time.\r\n", exitSyntax}
	}
}

// exit is what the shell makes of a program's exit code: PowerShell tells only
// success from failure, bash keeps eight bits.
func (s Shell) exit(code int) int {
	switch {
	case s == PowerShell && code != 0:
		return 1
	case s == Bash:
		return code & 0xff
	default:
		return code
	}
}
