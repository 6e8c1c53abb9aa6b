// Package sshtest starts a real OpenSSH server for tests: Debian's sshd with its
// own accounts, shadow file, PAM stack, sudoers and host key, on a loopback port.
//
// The machine lives in mount and process namespaces of its own, over copies of
// what it needs from /etc, so that the host's accounts are never touched and
// nothing is left when it ends. It needs Linux, root and OpenSSH, and knows
// nothing of what is tested. The product never imports it.
package sshtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/needtest"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// startTimeout bounds how long sshd may take to answer.
const startTimeout = 20 * time.Second

// Options describe the machine.
type Options struct {
	Users []User
	// Config are lines of sshd_config that come first, where the first value of
	// a keyword wins; Match are blocks that come last.
	Config, Match string
	// Sudoers are further lines of /etc/sudoers.
	Sudoers string
	// Bashrc is what everybody's .bashrc holds; bash reads it over SSH too.
	Bashrc string
	// EnforcePolicy makes pam_pwquality refuse weak passwords of root's making.
	EnforcePolicy bool
	// MachineID is /etc/machine-id; "" makes one up, "none" leaves it out.
	MachineID string
}

// A User is an account of the machine.
type User struct {
	Name     string
	Password string // "" leaves the account without one
	Shell    string // "" is /bin/bash
	Sudo     Sudo
}

// Sudo says what an account may do with sudo.
type Sudo int

// The rights.
const (
	SudoNone       Sudo = iota
	SudoPassword        // everything, asking for the account's own password
	SudoNoPassword      // everything, asking nothing
)

// A Server is a running machine.
type Server struct {
	Host    string
	Port    int
	HostKey string // "ssh-ed25519 AAAA..."

	dir   string
	init  *exec.Cmd // sshd itself, process 1 of its namespace
	ended chan struct{}
	proxy *proxy
	close sync.Once
}

// Start starts a machine that ends with t. Where that is impossible it skips t,
// saying what is missing; with KEYTURN_TEST_REQUIRE=1 it fails instead.
func Start(t *testing.T, o Options) *Server {
	t.Helper()
	why := Unavailable()
	if why == "" && o.EnforcePolicy && !pwquality() {
		why = "pam_pwquality.so (Debian: libpam-pwquality) is not installed"
	}
	if why != "" {
		needtest.Missing(t, "no real sshd: "+why)
	}
	s, err := StartServer(t.Context(), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Unavailable says why no machine can be started here; "" means that one can.
func Unavailable() string {
	if why := cannotIsolate(); why != "" {
		return why
	}
	for _, program := range []string{
		"/usr/sbin/sshd", "/usr/sbin/chpasswd", "/usr/bin/nsenter", "/usr/bin/sudo", "/usr/bin/timeout", "/bin/mount",
	} {
		if _, err := os.Stat(program); err != nil {
			return program + " is not installed"
		}
	}
	return ""
}

// StartServer starts a machine that keeps its files in dir, which must exist.
// ctx bounds the start; the caller ends the machine with Close.
func StartServer(ctx context.Context, dir string, o Options) (*Server, error) {
	if why := Unavailable(); why != "" {
		return nil, errors.New(why)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, ended: make(chan struct{})}
	if s.HostKey, err = build(dir, addr, o); err != nil {
		return nil, fmt.Errorf("build the machine: %w", err)
	}
	if err := s.boot(); err != nil {
		return nil, err
	}
	if err := s.settle(ctx, addr, o.Users); err != nil {
		err = fmt.Errorf("%w\n%s", err, s.Log())
		s.Close()
		return nil, err
	}
	return s, nil
}

// boot runs with its own mounts and processes until it is killed. The folder is
// entered first: it may lie below one of those that are covered.
const boot = `set -e
cd "$1"
mount --make-rprivate /
mount -t proc proc /proc
for d in etc home root run var/log var/lib/sudo var/lib/dbus; do
	[ -d "/$d" ] && mount --bind "./$d" "/$d"
done
exec /usr/sbin/sshd -D -f /etc/ssh/sshd_config -E /var/log/sshd.log`

func (s *Server) boot() error {
	s.init = exec.Command("/bin/sh", "-c", boot, "boot", s.dir) //nolint:gosec,noctx // constant script; it ends by Close
	s.init.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	var out bytes.Buffer
	s.init.Stderr = &out
	isolate(s.init)
	if err := s.init.Start(); err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	go func() {
		_ = s.init.Wait()
		close(s.ended)
	}()
	return nil
}

// settle waits for sshd, opens the door to it and sets the passwords.
func (s *Server) settle(ctx context.Context, addr string, users []User) error {
	if err := s.awaitBanner(ctx, addr); err != nil {
		return err
	}
	var err error
	if s.proxy, err = newProxy(ctx, addr); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(s.proxy.address())
	if err != nil {
		return err
	}
	s.Host = host
	if s.Port, err = strconv.Atoi(port); err != nil {
		return err
	}
	var lines strings.Builder
	for _, u := range users {
		if u.Password != "" {
			fmt.Fprintf(&lines, "%s:%s\n", u.Name, u.Password)
		}
	}
	if lines.Len() == 0 {
		return nil
	}
	// -c works beside PAM, whose policy is for what is tested.
	_, err = s.Run(ctx, lines.String(), "chpasswd", "-c", "SHA512")
	return err
}

func (s *Server) awaitBanner(ctx context.Context, addr string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		if c, err := d.DialContext(ctx, "tcp", addr); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return errors.New("sshd ended at once")
		case <-ctx.Done():
			return fmt.Errorf("sshd does not listen: %w", ctx.Err())
		}
	}
}

// Close ends the machine and everything that runs on it.
func (s *Server) Close() {
	s.close.Do(func() {
		if s.proxy != nil {
			s.proxy.close()
		}
		_ = s.init.Process.Kill() // the first process takes its namespace along
		<-s.ended
	})
}

// Endpoint is where the machine is, with its true host key.
func (s *Server) Endpoint() remote.Endpoint {
	return remote.Endpoint{Transport: pam.SSH, Host: s.Host, Port: s.Port, HostKeys: []string{s.HostKey}}
}

// Run runs a command on the machine as root, beside SSH, and returns what it
// wrote.
func (s *Server) Run(ctx context.Context, stdin string, args ...string) (string, error) {
	args = append([]string{"-t", strconv.Itoa(s.init.Process.Pid), "-m", "-p", "--"}, args...)
	c := exec.CommandContext(ctx, "/usr/bin/nsenter", args...) //nolint:gosec // a test says what runs
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(args[5:], " "), err, out)
	}
	return string(out), nil
}

// Shadow is the password field of user in /etc/shadow, or "".
func (s *Server) Shadow(user string) string {
	b, _ := os.ReadFile(s.path("etc/shadow"))
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, ":"); f[0] == user && len(f) > 1 {
			return f[1]
		}
	}
	return ""
}

// LockShadow holds the lock that every tool takes before it writes passwords
// (lckpwdf), until the returned function is called.
func (s *Server) LockShadow() (unlock func(), err error) {
	return lockFile(s.path("etc/.pwd.lock"))
}

// Log is what sshd has logged so far, at the level VERBOSE. It waits for the
// processes of connections that have ended, which log last; while connections
// are open it waits for a second at most.
func (s *Server) Log() string {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; s.proxy != nil && s.connected() && n < 500 && (n < 50 || s.proxy.links() == 0); n++ {
		<-tick.C
	}
	b, _ := os.ReadFile(s.path("var/log/sshd.log"))
	return string(b)
}

// connected reports whether any sshd runs beside the first one.
func (s *Server) connected() bool {
	n := 0
	for _, line := range s.Processes() {
		if strings.HasPrefix(line, "sshd") || strings.HasPrefix(line, "/usr/sbin/sshd") {
			n++
		}
	}
	return n > 1
}

// Processes are the command lines of all that runs on the machine, words
// separated by spaces.
func (s *Server) Processes() []string {
	var lines []string
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/root/proc/[0-9]*/cmdline", s.init.Process.Pid))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil { //nolint:gosec // of /proc
			lines = append(lines, strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")))
		}
	}
	return lines
}

// Wrap replaces the program at path on the machine by a shell script, in which
// "$REAL" names the program and which runs with the program's arguments. Files
// that it leaves in /run are read with [Server.ReadRun].
func (s *Server) Wrap(ctx context.Context, path, script string) error {
	base := filepath.Base(path)
	if _, err := s.Run(ctx, "", "cp", "-p", path, "/run/real-"+base); err != nil {
		return err
	}
	text := "#!/bin/sh\nREAL=/run/real-" + base + "\n" + script + "\n"
	if err := write(s.path("run/wrap-"+base), text, 0o755); err != nil {
		return err
	}
	_, err := s.Run(ctx, "", "mount", "--bind", "/run/wrap-"+base, path)
	return err
}

// ReadRun returns the content of a file in /run of the machine.
func (s *Server) ReadRun(name string) (string, error) {
	b, err := os.ReadFile(s.path("run/" + name))
	return string(b), err
}

// WriteRun writes a file in /run of the machine.
func (s *Server) WriteRun(name, text string) error { return write(s.path("run/"+name), text, 0o644) }

// Connections is how many connections the machine was asked for.
func (s *Server) Connections() int { return int(s.proxy.connections.Load()) }

// RefuseNext closes the next n connections before sshd sees them, as a busy
// sshd does.
func (s *Server) RefuseNext(n int) { s.proxy.refuse.Store(int64(n)) }

// Mute keeps back everything that the machine says from now on, as a network
// that fails in one direction; what is sent to it still arrives.
func (s *Server) Mute() { s.proxy.mute() }

// Drop ends all present connections, and lets later ones through unmuted.
func (s *Server) Drop() { s.proxy.drop() }

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }
