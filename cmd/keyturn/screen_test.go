//go:build linux || darwin

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/olekukonko/tablewriter/pkg/twwidth"

	"keyturn/pkg/needtest"
)

// onTerminal runs the program in a terminal of so many columns and returns what it
// shows there.
func onTerminal(t *testing.T, dir string, columns uint16, args ...string) string {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		needtest.Missing(t, "no pseudo terminal here: "+err.Error())
	}
	defer master.Close() //nolint:errcheck // read to its end
	if err := pty.Setsize(master, &pty.Winsize{Cols: columns, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(context.Background(), programName, args...)
	c.Dir, c.Env = dir, environment(dir)
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close() // the program has it
	var screen bytes.Buffer
	_, _ = io.Copy(&screen, master) // ends with an error on linux when nobody has the other side
	if err := c.Wait(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, screen.String())
	}
	return strings.ReplaceAll(screen.String(), "\r\n", "\n")
}

// wideHome is a vault whose tables are wider than a terminal.
func wideHome(t *testing.T) string {
	t.Helper()
	dir := home(t)
	batch(t, dir, "init --kdf-memory 19456",
		"record-add -rt pamMachine -t DC01 pamHostname=127.0.0.1:5986 text.operatingSystem=windows",
		"record-add -rt pamMachine -t SRV1 pamHostname=127.0.0.2:5986 text.operatingSystem=windows",
		`record-add -rt pamUser -t "LAB admin" login=LAB\admin`,
		`record-add -rt pamUser -t "svc_app 日本語サーバ" login=LAB\svc_app`,
		`pam config edit "Local Network" -a "LAB admin"`,
		`pam rotation edit -r "svc_app 日本語サーバ" -rs DC01 -od --enable --force`,
	)
	return dir
}

func widest(text string) (columns int) {
	for l := range strings.SplitSeq(text, "\n") {
		columns = max(columns, twwidth.Width(l))
	}
	return columns
}

// Each of these is wider than its terminal when it is piped.
func TestTablesFitIntoATerminal(t *testing.T) {
	t.Parallel()
	dir := wideHome(t)
	for _, columns := range []uint16{80, 120} {
		for _, line := range []string{
			"record-type-info", "pam config list -v", "audit list", "help exit-codes", "pam rotation list -v", "list -v", "ls -l", "key list",
		} {
			args := strings.Fields(line)
			if shown := onTerminal(t, dir, columns, args...); widest(shown) > int(columns) {
				t.Errorf("%s takes %d of %d columns:\n%s", line, widest(shown), columns, shown)
			}
			c := exec.CommandContext(t.Context(), programName, args...)
			c.Dir, c.Env = dir, environment(dir)
			piped, err := c.Output()
			if err != nil || widest(string(piped)) <= 80 {
				t.Errorf("%s in a pipe is cut: %v\n%s", line, err, piped)
			}
		}
	}
}

func TestATableIsReadOnATerminalOf80Columns(t *testing.T) {
	t.Parallel()
	dir := wideHome(t)
	got := uid.ReplaceAllString(onTerminal(t, dir, 80, "pam", "config", "list"), strings.Repeat("x", 22))
	want := `UID                     Config Name    Config Type  Gateway UID
    Resource Record UIDs
----------------------  -------------  -----------  ----------------------
xxxxxxxxxxxxxxxxxxxxxx  Local Network  local        xxxxxxxxxxxxxxxxxxxxxx
    xxxxxxxxxxxxxxxxxxxxxx, xxxxxxxxxxxxxxxxxxxxxx
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got = uid.ReplaceAllString(onTerminal(t, dir, 80, "pam", "rotation", "list", "-v"), strings.Repeat("x", 22))
	want = `Record UID:               xxxxxxxxxxxxxxxxxxxxxx
Record Title:             svc_app 日本語サーバ
Record Type:              pamUser
Schedule:                 [Manual Rotation]
Gateway:                  Embedded
Gateway UID:              xxxxxxxxxxxxxxxxxxxxxx
PAM Configuration (Type): Local Network (local)
PAM Configuration UID:    xxxxxxxxxxxxxxxxxxxxxx
`
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// The page shows this one, and it is kept.
	got = onTerminal(t, dir, 80, "pam", "gateway", "list")
	if !strings.Contains(got, "KSM Application Name (UID)              Gateway Name    Gateway UID             Status\n") {
		t.Errorf("the gateways are not those of the page:\n%s", got)
	}
}

// In the shell tables follow the window, also when its size changes.
func TestTablesFollowTheWindowOfTheShell(t *testing.T) {
	t.Parallel()
	s := openShell(t, wideHome(t))
	s.send("pam config list\r")
	s.expect(`Gateway UID +Resource Record UIDs\n(?s:.*)My Vault> $`)
	s.resize(80, 24)
	s.send("pam config list\r")
	s.expect(`Gateway UID\n    Resource Record UIDs\n(?s:.*)My Vault> $`)
	s.send("exit\r")
	s.ended(0)
}

// Behind "| head" nobody reads to the end: no failure, no complaint, and a command that
// failed for another reason says so.
func TestWhatNobodyReadsIsNoFailure(t *testing.T) {
	t.Parallel()
	dir := wideHome(t)
	for line, code := range map[string]int{
		"list": 0, "list --format json": 0, "list --format csv": 0, "audit export": 0, "help": 0, "--help": 0, "--version": 0, "pam": 0,
		"help pam action rotate": 0, "help exit-codes": 0, "completion bash": 0, "completion fish": 0, "whoami": 0, "run-batch lines": 0,
		"get nosuch": 3, "pam action nosuch": 2, "export --force": 1, "pam action rotate -r LAB\\svc_app --force": 3,
		"pam action gateway-info -g Embedded": 5,
	} {
		if err := os.WriteFile(filepath.Join(dir, "lines"), []byte("list\nmkdir Made\ntree\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = read.Close()
		var complaint bytes.Buffer
		c := exec.CommandContext(t.Context(), programName, strings.Fields(line)...)
		c.Dir, c.Env, c.Stdout, c.Stderr = dir, environment(dir), write, &complaint
		_ = c.Run() // the exit code says how
		_ = write.Close()
		if got := c.ProcessState.ExitCode(); got != code || code == 0 && complaint.Len() > 0 {
			t.Errorf("%s: exit code %d, want %d; it says %q", line, got, code, complaint.String())
		}
	}
	if got := onTerminal(t, dir, 80, "tree"); !strings.Contains(got, "Made") {
		t.Errorf("the batch ended when nobody read any more:\n%s", got)
	}
}
