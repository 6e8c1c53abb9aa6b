//go:build linux || darwin

package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/lab"
)

// fleet fills the vault of a folder with a practice machine and an account that
// can be rotated.
func fleet(t *testing.T, dir string) {
	t.Helper()
	machines, err := lab.Start(t.Context(), lab.Options{
		Machines: 1, Dir: filepath.Join(dir, "lab"), Now: time.Now, Random: rand.Reader,
		StartDelay: 50 * time.Millisecond, StopDelay: 30 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = machines.Close() })
	d, err := machines.Describe()
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{"init --kdf-memory 19456"}
	for _, m := range d.Machines {
		lines = append(lines, fmt.Sprintf("record-add -rt pamMachine -t %s pamHostname=%s:%d text.operatingSystem=windows c.text.serverPin=%s",
			m.Name, m.Host, m.Port, m.Pin))
	}
	batch(t, dir, append(lines,
		`record-add -rt pamUser -t admin login=LAB\admin password=@lab/admin.password`,
		`record-add -rt pamUser -t svc_app login=LAB\svc_app password=@lab/svc_app.password`,
		`pam config edit "Local Network" -a admin`, `pam rotation edit -r svc_app -rs DC01 --force`,
		`pam action service add -g Embedded -m SRV1 -u svc_app`)...)
}

// A rotation returns to the prompt at once; what was typed meanwhile stays, and
// the end of the job is told above it. Ctrl-C ends the command that waits, and
// neither the shell nor the job.
func TestShellTellsOfTheEndOfAJob(t *testing.T) {
	t.Parallel()
	dir := home(t)
	fleet(t, dir)
	s := openShell(t, dir)

	s.send("pam action rotate -r svc_app --settle 2s\r")
	s.expect(`Scheduled action id: .*\n(?s:.*)My Vault> $`)
	s.send("pam action job-list" + strings.Repeat(" ", 200))
	s.expect(`(?s)job \S{22} finished: Rotation completed .*\n.*My Vault> pam action job-list`)
	if !strings.Contains(s.printed(), "\x1b[2A\r\x1b[J") {
		t.Error("a part of what was typed in two rows stayed above the news")
	}
	s.send("\r")
	s.expect(`finished .* svc_app\n`)

	s.send("pam action rotate -r svc_app --settle 3s\r")
	s.expect(`Scheduled action id: .*\n(?s:.*)My Vault> $`)
	s.send("pam action job-info --wait \t\r")
	s.expect(`restart ok|changing|updating|looking`)
	s.send("\x03")
	s.expect(`not waited for any more, job \S{22} goes on in its own process(?s:.*)My Vault> $`)
	s.expect(`job \S{22} finished: Rotation completed`)

	s.send("pam action rotate -r svc_app --settle 8s\r")
	s.expect(`Scheduled action id: .*\n(?s:.*)My Vault> $`)
	s.send("lock\r")
	s.expect(`The vault is locked`)
	s.expect(`job \S{22} goes on; it is not watched any more, because the vault was locked\nNext: keyturn pam action job-info \S{22} --wait\n(?s:.*)My Vault> $`)
	s.send("\x04")
	s.ended(0)
}

// A job that restarted nothing says above the prompt how that is done later. Who leaves
// while one runs is told that it goes on, and it does.
func TestShellTellsWhatIsLeftOfAJob(t *testing.T) {
	t.Parallel()
	dir := home(t)
	fleet(t, dir)
	s := openShell(t, dir)
	s.send("pam action rotate -r svc_app --no-restart\r")
	s.expect(`Scheduled action id: `)
	s.expect(`job \S{22} finished: Rotation completed .*\n(.*warning.*\n)?Next: keyturn pam action restart \S{22} restarts what still runs with the old password\n`)
	job := regexp.MustCompile(`action restart (\S{22})`).FindStringSubmatch(s.printed())[1]
	s.send("pam action restart " + job + " --no-wait\r")
	s.expect(`Scheduled action id: .*\n(?s:.*)My Vault> $`)
	s.send("quit\r")
	s.expect(`job ` + job + ` of LAB\\svc_app goes on in its own process, without this shell\nNext: keyturn pam action job-info ` + job + ` --wait\n`)
	s.ended(0)
	s = openTerm(t, dir, "pam", "action", "job-info", job, "--wait")
	s.expect(`Status +: finished`)
	s.exited(0)
}

// The first Ctrl-C asks a job to stop, which is too late here; the second leaves it
// to its own process, and says so.
func TestT05ASecondCtrlCLeavesTheJobToItself(t *testing.T) {
	t.Parallel()
	dir := home(t)
	fleet(t, dir)
	s := openTerm(t, dir, "pam", "action", "rotate", "-r", "svc_app", "--settle", "3s")
	s.expect(`restarting what was running\n`)
	s.send("\x03")
	s.expect(`job \S{22} cannot be stopped any more: the password is changed, and what was running is being restarted; ` +
		`waiting for its end, and interrupt again to leave it alone with its own process`)
	s.send("\x03")
	s.expect(`keyturn: not waited for any more, job \S{22} goes on in its own process: the password is changed, and what was running is being restarted\n` +
		`hint: keyturn pam action job-info \S{22} --wait shows its end, and what is left to do then\n$`)
	s.exited(6)

	job := regexp.MustCompile(`Scheduled action id: (\S{22})`).FindStringSubmatch(s.printed())
	s = openTerm(t, dir, "pam", "action", "job-info", job[1], "--wait")
	s.expect(`Rotation completed`)
	s.exited(0)
}

// Who only watches a job and has enough of it is told how to stop it.
func TestCtrlCWhileAJobIsWatchedSaysHowToStopIt(t *testing.T) {
	t.Parallel()
	dir := home(t)
	mute, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // never says a word
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	batch(t, dir, "init --kdf-memory 19456",
		"record-add -rt pamMachine -t DC01 text.operatingSystem=windows pamHostname="+mute.Addr().String(),
		`record-add -rt pamUser -t admin login=LAB\admin password=@master`,
		`record-add -rt pamUser -t svc_app login=LAB\svc_app password=@master`,
		`pam config edit "Local Network" -a admin`, `pam rotation edit -r svc_app -rs DC01 --force`)
	s := openTerm(t, dir, "pam", "action", "rotate", "-r", "svc_app", "--no-wait")
	s.expect(`Scheduled action id: \S{22}\n`)
	job := regexp.MustCompile(`id: (\S{22})`).FindStringSubmatch(s.printed())[1]
	s.exited(0)
	s = openTerm(t, dir, "pam", "action", "job-info", job, "--wait")
	s.expect(`looking at the authority`)
	s.send("\x03")
	s.expect(`keyturn: not waited for any more, job ` + job + ` goes on in its own process\n` +
		`hint: .* --wait shows its end; keyturn pam action job-cancel ` + job + ` stops it\n$`)
	s.exited(130)
	batch(t, dir, "pam action job-cancel "+job)
	s = openTerm(t, dir, "pam", "action", "job-info", job, "--wait")
	s.expect(`cancelled; nothing changed`)
	s.exited(130)
}
