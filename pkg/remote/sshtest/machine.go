package sshtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	gossh "golang.org/x/crypto/ssh"
)

// What sshd, PAM, sudo and the shadow tools read of the host's /etc.
var borrowed = []string{
	"pam.d", "pam.conf", "security", "login.defs", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
	"shells", "default", "environment", "alternatives", "profile", "bash.bashrc", "skel",
}

// build makes the machine's folders and returns its host key.
func build(dir, addr string, o Options) (string, error) {
	for _, d := range []string{
		"etc/ssh", "home", "run/sshd", "run/sudo", "run/lock", "var/log", "var/lib/sudo/lectured", "var/lib/dbus",
	} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil { //nolint:gosec // as on any machine
			return "", err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "root"), 0o700); err != nil {
		return "", err
	}
	for _, name := range borrowed {
		if err := borrow(filepath.Join("/etc", name), filepath.Join(dir, "etc", name)); err != nil {
			return "", err
		}
	}
	if err := adaptPAM(dir, o); err != nil {
		return "", err
	}
	if err := addUsers(dir, o); err != nil {
		return "", err
	}
	return configure(dir, addr, o)
}

// borrow copies a file or folder; a missing one is left out.
func borrow(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o755) //nolint:gosec // as on any machine
		case e.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target) //nolint:gosec // from /etc into a folder of our own
		}
		b, err := os.ReadFile(path) //nolint:gosec // of /etc
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return write(target, string(b), info.Mode().Perm())
	})
}

// adaptPAM takes out what needs more than a namespace (the audit login id, mail,
// messages of the day) and the two seconds that a wrong password costs.
func adaptPAM(dir string, o Options) error {
	for _, name := range []string{"sshd", "common-auth"} {
		path := filepath.Join(dir, "etc/pam.d", name)
		b, err := os.ReadFile(path) //nolint:gosec // our copy
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var text strings.Builder
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, "pam_loginuid") || strings.Contains(line, "pam_motd") || strings.Contains(line, "pam_mail") {
				continue
			}
			if name == "common-auth" {
				line = strings.Replace(line, "pam_unix.so", "pam_unix.so nodelay", 1)
			}
			text.WriteString(line)
		}
		if err := write(path, text.String(), 0o644); err != nil {
			return err
		}
	}
	if o.EnforcePolicy {
		return write(filepath.Join(dir, "etc/pam.d/common-password"), enforcedPolicy, 0o644)
	}
	return nil
}

// enforcedPolicy is Debian's password stack with pam_pwquality in it, which holds
// root to its rules too.
const enforcedPolicy = `password requisite pam_pwquality.so retry=1 minlen=12 minclass=3 enforce_for_root
password [success=1 default=ignore] pam_unix.so obscure use_authtok try_first_pass yescrypt
password requisite pam_deny.so
password required pam_permit.so
`

// pwquality finds the module that [Options.EnforcePolicy] needs.
func pwquality() bool {
	for _, pattern := range []string{"/lib/*/security/pam_pwquality.so", "/lib*/security/pam_pwquality.so"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

// accounts are the lines of the account files.
type accounts struct {
	passwd, shadow, group, sudoers strings.Builder
}

func (a *accounts) add(u User, id int, home string) {
	shell := u.Shell
	if shell == "" {
		shell = "/bin/bash"
	}
	fmt.Fprintf(&a.passwd, "%s:x:%d:%d::%s:%s\n", u.Name, id, id, home, shell)
	fmt.Fprintf(&a.shadow, "%s:*:20000:0:99999:7:::\n", u.Name)
	if id != 0 {
		fmt.Fprintf(&a.group, "%s:x:%d:\n", u.Name, id)
	}
	a.sudoers.WriteString(u.Sudo.line(u.Name))
}

func addUsers(dir string, o Options) error {
	var a accounts
	a.passwd.WriteString("sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n")
	a.shadow.WriteString("sshd:!:20000::::::\nnobody:*:20000:0:99999:7:::\n")
	a.group.WriteString("root:x:0:\ntty:x:5:\nshadow:x:42:\nnogroup:x:65534:\n")
	a.sudoers.WriteString("Defaults env_reset\n" +
		`Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"` + "\n" +
		"root ALL=(ALL:ALL) ALL\n" + o.Sudoers + "\n")
	users := o.Users
	if !hasRoot(users) {
		users = append([]User{{Name: "root"}}, users...)
	}
	for i, u := range users {
		id, home := 1000+i, "/home/"+u.Name
		if u.Name == "root" {
			id, home = 0, "/root"
		}
		a.add(u, id, home)
		if err := addHome(filepath.Join(dir, home), id, o.Bashrc); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"passwd", a.passwd.String(), 0o644},
		{"shadow", a.shadow.String(), 0o640},
		{"group", a.group.String(), 0o644},
		{"gshadow", "root:*::\n", 0o640},
		{"sudoers", a.sudoers.String(), 0o440},
	} {
		if err := write(filepath.Join(dir, "etc", f.name), f.text, f.mode); err != nil {
			return err
		}
	}
	return nil
}

func hasRoot(users []User) bool {
	for _, u := range users {
		if u.Name == "root" {
			return true
		}
	}
	return false
}

func (s Sudo) line(user string) string {
	switch s {
	case SudoPassword:
		return user + " ALL=(ALL:ALL) ALL\n"
	case SudoNoPassword:
		return user + " ALL=(ALL:ALL) NOPASSWD: ALL\n"
	default:
		return ""
	}
}

func addHome(home string, id int, bashrc string) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	rc := filepath.Join(home, ".bashrc")
	if err := write(rc, bashrc, 0o644); err != nil {
		return err
	}
	if err := os.Chown(rc, id, id); err != nil {
		return err
	}
	return os.Chown(home, id, id)
}

// configure writes what is left of /etc and returns the host key.
func configure(dir, addr string, o Options) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := gossh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	key, err := gossh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	id := o.MachineID
	if id == "" {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails
		id = hex.EncodeToString(b[:])
	}
	name, err := os.Hostname()
	if err != nil {
		return "", err
	}
	files := map[string]string{
		"hosts":        "127.0.0.1 localhost " + name + "\n",
		"hostname":     name + "\n",
		"machine-id":   id + "\n",
		"ssh/host_key": string(pem.EncodeToMemory(block)),
		"ssh/sshd_config": o.Config + "\nListenAddress " + host + "\nPort " + port + `
HostKey /etc/ssh/host_key
PidFile none
UsePAM yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin yes
UseDNS no
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
` + o.Match + "\n",
	}
	if id == "none" {
		delete(files, "machine-id")
	}
	for name, text := range files {
		mode := os.FileMode(0o644)
		if name == "ssh/host_key" {
			mode = 0o600
		}
		if err := write(filepath.Join(dir, "etc", name), text, mode); err != nil {
			return "", err
		}
	}
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key))), nil
}

// write writes a file with that mode, whatever the umask.
func write(path, text string, mode os.FileMode) error {
	if err := os.WriteFile(path, []byte(text), mode); err != nil { //nolint:gosec // in a folder of the test's own
		return err
	}
	return os.Chmod(path, mode)
}

// freeAddress finds an address of 127/8 that is hardly anybody else's, so that
// its port is still free when sshd comes to take it.
func freeAddress(ctx context.Context) (string, error) {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+b[0]%200, b[1], 1+b[2]%200))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
