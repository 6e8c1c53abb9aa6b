//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/needtest"
)

// A crashCase is a command that is killed, or whose file system fails, at every
// system call that changes a file of the vault.
type crashCase struct {
	name string
	args []string
	// fresh starts without a vault.
	fresh bool
	// first are commands that make of the vault what it has to be.
	first [][]string
	// keyring gives it a slot in a keyring, before each crash: a rekey moves its entry.
	keyring bool
	// opens is a command with a way in that is neither password nor key file. Whatever
	// the crash left, it opens the vault.
	opens []string
	// image looks at a copy of the files too, as a power cut would leave them, while
	// another process has the vault open: then nobody has tidied the log away.
	image bool
	// again says that the same command makes up for what a crash left undone.
	again bool
	// done is what a command prints, and what of it, when the change is there.
	shows []string
	done  string
}

// rekeyed is what the audit says of a rekey that kept everything.
func rekeyed(kinds string) string { return `vault\.rekey.*kept ` + kinds }

var crashCases = []crashCase{
	{name: "init", args: []string{"init", "--kdf-memory", "19456"}, fresh: true, shows: []string{"whoami"}, done: `Records: 0`},
	{name: "record-add", args: []string{"record-add", "-rt", "login", "-t", "new", "password=@next"}, shows: []string{"ls"}, done: `(?m)^new$`},
	{
		name: "record-update", args: []string{"record-update", "-r", "svc", "password=@next"},
		shows: []string{"get", "svc", "--unmask"}, done: `Password: another horse`,
	},
	{name: "rm", args: []string{"rm", "svc", "--force"}, shows: []string{"ls", "-s"}, done: `\Alogin\s*\z`},
	{name: "mkdir", args: []string{"mkdir", "Prod"}, shows: []string{"tree"}, done: `Prod`},
	{name: "import", args: []string{"import", "records.json"}, shows: []string{"ls"}, done: `(?s)import-1.*import-2`},
	{
		name: "trash purge", args: []string{"trash", "purge", "-f"}, first: [][]string{{"rm", "login", "--force"}},
		shows: []string{"audit", "list", "--last", "1"}, done: `record\.purge`,
	},
	{
		name: "record-history restore", args: []string{"record-history", "restore", "-r", "4", "login"},
		first: [][]string{{"record-update", "-r", "login", "login=second"}}, shows: []string{"get", "login"}, done: `Login: first`,
	},
	{
		name: "passwd", args: []string{"passwd", "--new-password-file", "next", "--kdf-memory", "19456"},
		shows: []string{"--password-file", "next", "whoami"}, done: `Records`,
	},
	{
		name: "key add", args: []string{"key", "add", "--new-password-file", "next", "--kdf-memory", "19456"},
		shows: []string{"key", "list"}, done: `(?s)passphrase.*keyfile.*passphrase`,
	},
	{name: "key add of age", args: []string{"key", "add", "--age", ageRecipient}, shows: []string{"key", "list"}, done: ` age +age1c97yeudgsx`},
	{name: "rekey", args: []string{"rekey", "--keep", "master"}, image: true, shows: []string{"audit", "list", "--last", "1"}, done: rekeyed("passphrase, keyfile")},
	{
		name: "rekey with age", args: []string{"rekey", "--keep", "master"}, first: [][]string{{"key", "add", "--age", ageRecipient}},
		opens: []string{"--identity", "identity", "whoami"}, shows: []string{"audit", "list", "--last", "1"}, done: rekeyed("passphrase, keyfile, age"),
	},
	{
		name: "rekey with keyring", args: []string{"rekey", "--keep", "master"}, keyring: true, opens: []string{"whoami"},
		shows: []string{"audit", "list", "--last", "1"}, done: rekeyed("passphrase, keyfile, keyring"),
	},
	{
		name: "vault backup", args: []string{"vault", "backup", "home/copy.tar"},
		shows: []string{"--vault", "home/again", "vault", "restore", "home/copy.tar"}, done: `is made from`,
	},
	{
		name: "vault restore", args: []string{"--vault", "home/again", "vault", "restore", "copy.tar"}, first: [][]string{{"vault", "backup", "copy.tar"}},
		again: true, shows: []string{"--vault", "home/again", "vault", "check"}, done: `Records: 2\n`,
	},
	{
		name: "vault salvage", args: []string{"vault", "salvage", "home/again"},
		again: true, shows: []string{"--vault", "home/again", "vault", "check"}, done: `Records: 2\n`,
	},
}

// The age recipient and identity were made for these tests and open nothing else.
const (
	ageRecipient = "age1c97yeudgsxlgm3hza5zesd8yrmv92d6ruu7shyy22fv82lzf4efqu8x37m"
	ageIdentity  = "AGE-SECRET-KEY-1QQTWDLXADCDLA6FX0FDVLPLQZJ90GA0AXR9HV6CL9FQ50NEAA6LQ240MW2"
)

// TestCrashes sweeps the table with the tool that CRASHAT names, which kills or
// fails the n-th system call of an unmodified program. CRASHAT_EVERY=n samples.
func TestCrashes(t *testing.T) {
	t.Parallel()
	tool := os.Getenv("CRASHAT")
	if tool == "" {
		t.Skip("CRASHAT names no program that kills a command at its n-th system call that changes a file (make crash)")
	}
	bin := filepath.Join(t.TempDir(), programName)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, c := range crashCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &sweep{t: t, tool: tool, bin: bin, crashCase: c, base: t.TempDir()}
			s.prepare()
			s.run()
		})
	}
}

type sweep struct {
	crashCase
	t         *testing.T
	tool, bin string
	base      string   // with a vault to start from
	env       []string // leads to a keyring
	points    int
}

func (s *sweep) prepare() {
	s.t.Helper()
	for name, text := range map[string]string{
		"master": "correct horse\n", "next": "another horse\n", "identity": ageIdentity + "\n",
		"records.json": `{"records": [{"title": "import-1", "$type": "login"}, {"title": "import-2", "$type": "login"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(s.base, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.base, "home"), 0o700); err != nil || s.fresh {
		return
	}
	s.must(s.base, append([][]string{
		{"init", "--kdf-memory", "19456"},
		{"key", "add", "--new-key-file", "key"},
		{"record-add", "-rt", "pamUser", "-t", "svc", "login=svc", "password=@master"},
		{"record-add", "-rt", "login", "-t", "login", "login=first"},
	}, s.first...)...)
	if s.keyring {
		s.startKeyring()
	}
}

func (s *sweep) must(dir string, commands ...[]string) {
	s.t.Helper()
	for _, args := range commands {
		if out, code := s.keyturn(dir, nil, args...); code != 0 {
			s.t.Fatalf("%v: exit %d: %s", args, code, out)
		}
	}
}

// startKeyring gives the sweep a keyring of its own.
func (s *sweep) startKeyring() {
	s.t.Helper()
	for _, program := range []string{"dbus-daemon", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			needtest.Missing(s.t, "a Secret Service is needed (dbus-daemon, gnome-keyring-daemon): "+err.Error())
		}
	}
	dir, err := os.MkdirTemp("", "keyring") // a socket's path is short
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bus, env, err := newBus(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { end(bus) })
	s.env = env
	ring, err := newKeyring(dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { end(ring) })
}

// keyturn runs a command in a folder, under the tool when it is told how.
func (s *sweep) keyturn(dir string, tool []string, args ...string) (string, int) {
	s.t.Helper()
	env := []string{"KEYTURN_PASSWORD_FILE=" + filepath.Join(dir, "master")}
	if _, err := os.Stat(filepath.Join(dir, "key")); err == nil && args[0] != "passwd" {
		env = append(env, "KEYTURN_KEY_FILE="+filepath.Join(dir, "key"))
	}
	return s.keyturnWith(dir, env, tool, args...)
}

func (s *sweep) keyturnWith(dir string, env, tool []string, args ...string) (string, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	line := append([]string{s.bin}, args...)
	if tool != nil {
		line = append(append(append([]string{s.tool}, tool...), "--"), line...)
	}
	c := exec.CommandContext(ctx, line[0], line[1:]...)
	c.Dir = dir
	c.Env = slices.Concat([]string{"HOME=" + dir, "KEYTURN_HOME=" + filepath.Join(dir, "home")}, s.env, env)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%v: %v", line, err)
	}
	return string(out), c.ProcessState.ExitCode()
}

func (s *sweep) copied() string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.t.TempDir(), "")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(s.base))
	}
	if err == nil {
		err = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err == nil && info.IsDir() {
				return os.Chmod(path, 0o700)
			}
			return errors.Join(err, os.Chmod(path, 0o600))
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if s.keyring {
		s.must(dir, []string{"key", "add", "--keyring"})
	}
	return dir
}

var counted = regexp.MustCompile(`crashat: (\d+) mutating calls`)

func (s *sweep) run() {
	s.t.Helper()
	dir := s.copied()
	out, code := s.keyturn(dir, []string{"-mode", "count", "-p", filepath.Join(dir, "home")}, s.args...)
	m := counted.FindStringSubmatch(out)
	if code != 0 || m == nil || !s.there(dir) {
		s.t.Fatalf("without a crash: exit %d: %s", code, out)
	}
	calls, err := strconv.Atoi(m[1])
	if err != nil || calls == 0 {
		s.t.Fatalf("%s changes nothing: %s", s.name, out)
	}
	ways := [][]string{{"-mode", "enter"}, {"-mode", "exit"}, {"-mode", "torn"}}
	for _, errno := range []string{"28", "5", "30", "122"} { // ENOSPC, EIO, EROFS, EDQUOT
		ways = append(ways, []string{"-mode", "errno", "-e", errno}, []string{"-mode", "errno", "-e", errno, "-from"})
	}
	for n := 1; n <= calls; n += s.stride() {
		for _, way := range ways {
			s.point(n, way)
		}
	}
	s.t.Logf("%s: %d calls, %d points", s.name, calls, s.points)
}

// stride is 1 for the whole sweep; CRASHAT_EVERY=n takes every n-th call.
func (s *sweep) stride() int {
	s.t.Helper()
	n, err := strconv.Atoi(os.Getenv("CRASHAT_EVERY"))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// point crashes the command once and looks at what is left.
func (s *sweep) point(n int, way []string) {
	s.t.Helper()
	s.points++
	dir := s.copied()
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	what := fmt.Sprintf("call %d %s", n, strings.Join(way, " "))
	image := s.image && slices.Contains(way, "5") && !slices.Contains(way, "-from") // the others leave no more in the log
	closed := func() {}
	if image {
		closed = s.openBeside(dir)
	}
	out, code := s.keyturn(dir, append([]string{"-n", strconv.Itoa(n), "-p", filepath.Join(dir, "home")}, way...), s.args...)
	if image {
		s.lookAtImage(dir, what)
	}
	closed()
	if bytes.Contains([]byte(out), []byte("panic:")) || bytes.Contains([]byte(out), []byte("fatal error:")) {
		s.t.Errorf("%s: %s", what, out)
	}
	_, err := os.Lstat(filepath.Join(dir, "home", "header"))
	if s.fresh && err != nil { // no vault: it can be made
		if code == 0 {
			s.t.Errorf("%s: exit 0 and no vault", what)
		}
		if again, code := s.keyturn(dir, nil, s.args...); code != 0 {
			s.t.Errorf("%s: again: exit %d: %s", what, code, again)
		}
		return
	}
	if check, checked := s.keyturn(dir, nil, "vault", "check"); checked != 0 && !s.opensWithNext(dir) {
		s.t.Errorf("%s: exit %d: %s\nthe vault: exit %d: %s", what, code, out, checked, check)
	}
	if code == 0 && !s.there(dir) {
		s.t.Errorf("%s: it said that it was done, and it is not", what)
	}
	s.stillOpens(dir, what)
	if again, code := s.rerun(dir, code); code != 0 {
		s.t.Errorf("%s: the same once more: exit %d: %s", what, code, again)
	}
	// Whatever happened, the next attempt finds nothing in its way.
	if again, code := s.keyturn(dir, nil, "mkdir", "After"); code != 0 && !s.opensWithNext(dir) {
		s.t.Errorf("%s: the next change: exit %d: %s", what, code, again)
	}
}

// openBeside opens the vault in another process until closed is called.
func (s *sweep) openBeside(dir string) (closed func()) {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), s.bin, "run-batch", "-")
	c.Dir = dir
	c.Env = []string{"HOME=" + dir, "KEYTURN_HOME=" + filepath.Join(dir, "home"), "KEYTURN_KEY_FILE=" + filepath.Join(dir, "key")}
	in, err := c.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err == nil {
		_, err = fmt.Fprintln(in, "ls")
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1)) // then it is open
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = c.Wait()
	}
}

// lookAtImage opens what a power cut would leave: the files without what processes share.
func (s *sweep) lookAtImage(dir, what string) {
	s.t.Helper()
	image := filepath.Join(dir, "image")
	if err := os.MkdirAll(image, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for _, name := range []string{"header", "header.next", "vault.db", "vault.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, "home", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(image, name), b, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
	// It is another computer, which has no anchor.
	env := []string{"KEYTURN_KEY_FILE=" + filepath.Join(dir, "key"), "XDG_STATE_HOME=" + filepath.Join(image, "state")}
	if out, code := s.keyturnWith(dir, env, nil, "--vault", "image", "vault", "check"); code != 0 {
		s.t.Errorf("%s: after a power cut: exit %d: %s", what, code, out)
	}
}

// stillOpens tries the other way in.
func (s *sweep) stillOpens(dir, what string) {
	s.t.Helper()
	if s.opens == nil {
		return
	}
	if out, code := s.keyturnWith(dir, nil, nil, s.opens...); code != 0 {
		s.t.Errorf("%s: the other way in is lost: exit %d: %s", what, code, out)
	}
}

// rerun gives the command once more, unless all was there (7) that it makes.
func (s *sweep) rerun(dir string, code int) (string, int) {
	s.t.Helper()
	if !s.again || code == 0 {
		return "", 0
	}
	out, code := s.keyturn(dir, nil, s.args...)
	if (code == 0 || code == 7) && s.there(dir) {
		code = 0
	}
	return out, code
}

// opensWithNext reports whether the vault opens with the other password, as it
// may after a cut passwd.
func (s *sweep) opensWithNext(dir string) bool {
	s.t.Helper()
	_, code := s.keyturn(dir, nil, "--password-file", "next", "vault", "check")
	return s.name == "passwd" && code == 0
}

func (s *sweep) there(dir string) bool {
	s.t.Helper()
	out, code := s.keyturn(dir, nil, s.shows...)
	return code == 0 && regexp.MustCompile(s.done).MatchString(out)
}
