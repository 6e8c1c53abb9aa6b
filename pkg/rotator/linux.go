package rotator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// Linux is the Rotator of accounts in /etc/shadow of one machine, over a
// transport that runs a POSIX shell. The admin is root, or becomes root through
// sudo with or without a password. Evidence is a digest of the shadow hash,
// made on the machine, and exact.
//
// An account that changes its own password logs in with the old one until Set
// and with the new one afterwards: the caller passes what is right then as the
// admin's.
type Linux struct {
	dialer remote.Dialer
}

var _ Rotator = (*Linux)(nil)

// NewLinux returns a Rotator that opens its sessions with d.
func NewLinux(d remote.Dialer) *Linux { return &Linux{dialer: d} }

// Compiled when first used: most commands touch no Linux machine.
var (
	linuxName      = pattern(`^[A-Za-z_][A-Za-z0-9_.-]{0,30}[A-Za-z0-9_.$-]?$`)
	linuxMachineID = pattern(`^[0-9a-f]{32}$`)
	linuxDigest    = pattern(`^[0-9a-f]{64}$`)
	linuxDeny      = pattern(`\bdeny\s*=\s*([0-9]{1,4})\b`)
)

func pattern(s string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(s) })
}

// linuxMark marks what kind of digest an evidence is.
const linuxMark = "sha256:"

// checkLinux refuses what must not be sent anywhere.
func checkLinux(a Authority) error {
	if a.Kind != pam.AuthorityLinux {
		return pam.Errorf(pam.ErrInternal, "a Linux rotator was given an account of kind %q", a.Kind)
	}
	if !linuxName().MatchString(a.Account.Name) {
		return pam.Errorf(pam.ErrInvalidInput, "%q is not the name of a Linux account; nothing was connected", a.Account.Name).
			WithHint("a name has letters, digits and . _ -, starts with a letter or _, and is at most 32 characters long")
	}
	return nil
}

// Check finds the account, its state and the way to root. It changes nothing. A
// locked account is an error beside its Findings: setting a password would
// silently unlock it.
func (l *Linux) Check(ctx context.Context, a Authority) (Findings, error) {
	h, f, err := l.look(ctx, a)
	if err != nil {
		return Findings{}, err
	}
	defer func() { _ = h.Close() }()
	out := Findings{
		Identity:         pam.Identity{Name: a.Account.Name},
		SelfRotation:     a.Admin.User == a.Account.Name,
		LockoutThreshold: lockoutOf(f),
	}
	machine := "hostkey-" + hostKeyDigest(a.Admin.Endpoint)
	if id := f.one("machine"); linuxMachineID().MatchString(id) {
		machine, out.MachineID = id, id
	} else {
		out.Warnings = append(out.Warnings, "the machine has no machine-id: it is recognised by its host key")
	}
	out.Identity.Alias = machine + "/" + a.Account.Name
	if err := h.accountError(f); err != nil {
		out.Locked = f.one("class") == "locked"
		return out, err
	}
	out.describe(f)
	return out, nil
}

// Evidence is the digest of the account's shadow hash.
func (l *Linux) Evidence(ctx context.Context, a Authority) (pam.Evidence, error) {
	h, f, err := l.look(ctx, a)
	if err != nil {
		return pam.Evidence{}, err
	}
	defer func() { _ = h.Close() }()
	if f.end != "ok" {
		return pam.Evidence{}, h.accountError(f)
	}
	digest := f.one("digest")
	if !linuxDigest().MatchString(digest) {
		return pam.Evidence{}, pam.Errorf(pam.ErrIO, "%s: the digest of the password hash of %s did not arrive; nothing was changed",
			a.Admin.Address(), a.Account.Name).WithHint("sha256sum must be installed there")
	}
	return pam.Evidence{Mark: linuxMark + digest, Exact: true}, nil
}

// look logs in and reads the account. The caller closes the host.
func (l *Linux) look(ctx context.Context, a Authority) (*linuxHost, linuxFrames, error) {
	if err := checkLinux(a); err != nil {
		return nil, linuxFrames{}, err
	}
	h, err := openLinux(ctx, l.dialer, a)
	if err != nil {
		return nil, linuxFrames{}, fmt.Errorf("look at %s: %w", a.Account.Name, err)
	}
	f, err := h.run(ctx, linuxLook, []byte(a.Account.Name+"\n"))
	if err != nil {
		_ = h.Close()
		return nil, linuxFrames{}, fmt.Errorf("look at %s: %w", a.Account.Name, h.explain(err))
	}
	return h, f, nil
}

// accountError says why the account's password cannot be changed there, or nil.
// Every answer that it judges was given before anything was changed.
func (h *linuxHost) accountError(f linuxFrames) error {
	name, at := h.a.Account.Name, h.a.Admin.Address()
	state := f.end
	if state == "ok" {
		state = f.one("class")
	}
	switch state {
	case "unknown":
		return pam.Errorf(pam.ErrNotFound, "%s: there is no account %s; nothing was changed", at, name)
	case "directory":
		return pam.Errorf(pam.ErrPolicy, "%s: %s is an account of a directory, not of this machine; nothing was changed", at, name).
			WithHint("rotate it where it is decided")
	case "noshadow":
		return pam.Errorf(pam.ErrPolicy, "%s: %s has no line in /etc/shadow; nothing was changed", at, name)
	case "unreadable":
		return pam.Errorf(pam.ErrPolicy, "%s: %s cannot read /etc/shadow; nothing was changed", at, h.admin())
	case "printf":
		return pam.Errorf(pam.ErrPolicy, "%s: printf is no builtin of /bin/sh there, so that a password would show in the process list; "+
			"nothing was changed", at).WithHint("make dash, bash or busybox the machine's /bin/sh")
	case "locked":
		return pam.Errorf(pam.ErrPolicy, "%s: %s is locked, and a new password would unlock it; nothing was changed", at, name).
			WithHint("on the machine: usermod -U %s, if it is to be used", name)
	case "none":
		return pam.Errorf(pam.ErrPolicy, "%s: %s has no password, and a new one would open it to log-ins; nothing was changed", at, name).
			WithHint("on the machine: passwd %s, if it is to have one", name)
	}
	if f.end == "ok" && strings.Contains(strings.Join(f.values["missing"], " "), "chpasswd") {
		return pam.Errorf(pam.ErrPolicy, "%s: chpasswd is not installed; nothing was changed", at)
	}
	if f.end != "ok" {
		return pam.Errorf(pam.ErrIO, "%s: the answer %q makes no sense; nothing was changed", at, h.printable([]byte(f.end)))
	}
	return nil
}

// describe adds what does not stand in the way and should be known.
func (out *Findings) describe(f linuxFrames) {
	warn := func(text string) { out.Warnings = append(out.Warnings, text) }
	switch shell := f.one("shell"); path.Base(shell) {
	case "nologin", "false":
		warn("nobody can log in as it (shell " + path.Base(shell) + "): its password is proven by its hash, not by a log-in")
	}
	if f.one("class") == "empty" {
		warn("it has an empty password: anybody can be it on the machine")
	}
	if f.one("last") == "0" {
		warn("its password must be changed at the next log-in; the new one need not")
	}
	today, _ := strconv.Atoi(f.one("today"))
	if expire, err := strconv.Atoi(f.one("expire")); err == nil && expire > 0 && today >= expire {
		out.Disabled = true
		warn("the account has expired: it gets its password, and still cannot log in")
	}
	if strings.Contains(strings.Join(f.values["missing"], " "), "timeout") {
		warn("timeout is not installed: a change that waits for the shadow file's lock ends late, and its outcome is unknown until then")
	}
}

// lockoutOf reads after how many wrong passwords pam_faillock locks: a deny on
// its line, or in its file, or its own default. Without it nothing locks.
func lockoutOf(f linuxFrames) *int {
	n := 0
	if f.has("pam") {
		n = 3
	}
	for _, key := range []string{"faillock", "pam"} {
		for _, line := range f.values[key] {
			m := linuxDeny().FindStringSubmatch(line)
			if m == nil || !f.has("pam") || strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			n, _ = strconv.Atoi(m[1])
		}
	}
	return &n
}

// hostKeyDigest recognises a machine that has no machine-id.
func hostKeyDigest(e remote.Endpoint) string {
	key := ""
	if len(e.HostKeys) > 0 {
		key = strings.Join(strings.Fields(e.HostKeys[0])[:min(2, len(strings.Fields(e.HostKeys[0])))], " ")
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}
