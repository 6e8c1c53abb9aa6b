//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A crashCase is a command that is killed, or whose file system fails, at every
// system call that changes a file of the vault.
type crashCase struct {
	name string
	args []string
	// fresh starts without a vault.
	fresh bool
	// done is what a command prints, and what of it, when the change is there.
	shows []string
	done  string
}

var crashCases = []crashCase{
	{name: "init", args: []string{"init", "--kdf-memory", "19456"}, fresh: true, shows: []string{"whoami"}, done: `Records: 0`},
	{name: "record-add", args: []string{"record-add", "-rt", "login", "-t", "new", "password=@next"}, shows: []string{"ls"}, done: `(?m)^new$`},
	{
		name: "record-update", args: []string{"record-update", "-r", "svc", "password=@next"},
		shows: []string{"get", "svc", "--unmask"}, done: `Password: another horse`,
	},
	{name: "rm", args: []string{"rm", "svc", "--force"}, shows: []string{"ls", "-s"}, done: `\Alogin\s*\z`},
	{name: "mkdir", args: []string{"mkdir", "Prod"}, shows: []string{"tree"}, done: `Prod`},
	{name: "passwd", args: []string{"passwd", "--new-password-file", "next", "--kdf-memory", "19456"}, shows: []string{"--password-file", "next", "whoami"}, done: `Records`},
	{name: "key add", args: []string{"key", "add", "--new-password-file", "next", "--kdf-memory", "19456"}, shows: []string{"key", "list"}, done: `(?s)passphrase.*keyfile.*passphrase`},
	{name: "rekey", args: []string{"rekey", "--keep", "master"}, shows: []string{"audit", "list", "--last", "1"}, done: `vault\.rekey.*kept passphrase, keyfile`},
	{
		name: "key add of age", args: []string{"key", "add", "--age", "age1gs2q3c3dzxg7k9dqhgphvmqujq7lrv72kqs7z8yypuvufvudsarsmufpad"},
		shows: []string{"key", "list"}, done: ` age +age1gs2q3c3dzx`,
	},
	{name: "vault backup", args: []string{"vault", "backup", "home/copy.tar"}, shows: []string{"--vault", "home/again", "vault", "restore", "home/copy.tar"}, done: `is made from`},
}

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
	base      string // with a vault to start from
	points    int
}

func (s *sweep) prepare() {
	s.t.Helper()
	for name, text := range map[string]string{"master": "correct horse\n", "next": "another horse\n"} {
		if err := os.WriteFile(filepath.Join(s.base, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.base, "home"), 0o700); err != nil || s.fresh {
		return
	}
	for _, args := range [][]string{
		{"init", "--kdf-memory", "19456"},
		{"key", "add", "--new-key-file", "key"},
		{"record-add", "-rt", "pamUser", "-t", "svc", "login=svc", "password=@master"},
		{"record-add", "-rt", "login", "-t", "login"},
	} {
		if out, code := s.keyturn(s.base, nil, args...); code != 0 {
			s.t.Fatalf("%v: %s", args, out)
		}
	}
}

// keyturn runs a command in a folder, under the tool when it is told how.
func (s *sweep) keyturn(dir string, tool []string, args ...string) (string, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	line := append([]string{s.bin}, args...)
	if tool != nil {
		line = append(append(append([]string{s.tool}, tool...), "--"), line...)
	}
	c := exec.CommandContext(ctx, line[0], line[1:]...)
	c.Dir = dir
	c.Env = []string{"HOME=" + dir, "KEYTURN_HOME=" + filepath.Join(dir, "home"), "KEYTURN_PASSWORD_FILE=" + filepath.Join(dir, "master")}
	if _, err := os.Stat(filepath.Join(dir, "key")); err == nil && args[0] != "passwd" {
		c.Env = append(c.Env, "KEYTURN_KEY_FILE="+filepath.Join(dir, "key"))
	}
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
	out, code := s.keyturn(dir, append([]string{"-n", strconv.Itoa(n), "-p", filepath.Join(dir, "home")}, way...), s.args...)
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
	// Whatever happened, the next attempt finds nothing in its way.
	if again, code := s.keyturn(dir, nil, "mkdir", "After"); code != 0 && !s.opensWithNext(dir) {
		s.t.Errorf("%s: the next change: exit %d: %s", what, code, again)
	}
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
