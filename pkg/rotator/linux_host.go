package rotator

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// linuxPatience bounds one command: chpasswd gets 25 s of it.
const linuxPatience = 60 * time.Second

// A linuxHost is a machine, logged in to as its admin, with the way found by
// which the admin is root there.
type linuxHost struct {
	remote.Session
	a      Authority
	prefix string
	first  secret.Value // the line that sudo reads; zero where it reads none
}

// openLinux logs in as the admin and finds the way to root.
func openLinux(ctx context.Context, d remote.Dialer, a Authority) (*linuxHost, error) {
	s, err := d.Dial(ctx, a.Admin)
	if err != nil {
		return nil, err
	}
	h := &linuxHost{Session: s, a: a, prefix: linuxDirect}
	if err := h.elevate(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return h, nil
}

// elevate looks for the least that is needed: nothing for root, sudo without a
// password, sudo with the admin's own. A wrong sudo password costs one attempt.
func (h *linuxHost) elevate(ctx context.Context) error {
	f, err := h.run(ctx, linuxProbe, nil)
	if err != nil {
		return h.explain(err)
	}
	switch {
	case f.one("uid") == "0":
		return nil
	case f.end == "nosudo":
		return pam.Errorf(pam.ErrPolicy, "%s: %s is not root, and there is no sudo; nothing was changed", h.a.Admin.Address(), h.admin()).
			WithHint("use root, or install sudo and let %s use it", h.admin())
	case f.one("sudo") == "0":
		h.prefix = linuxSudo
		return nil
	}
	return h.grant(ctx)
}

func (h *linuxHost) grant(ctx context.Context) error {
	pw := h.a.Admin.Password
	if pw.IsZero() || password.Valid(pw) != nil {
		return pam.Errorf(pam.ErrAuthFailed,
			"%s: sudo asks %s for a password, and the record holds none that can be sent; nothing was changed",
			h.a.Admin.Address(), h.admin()).
			WithHint("give %s's record its password, or let it use sudo without one (NOPASSWD)", h.admin())
	}
	line := secret.New(append(bytes.Clone(pw.Reveal()), '\n'))
	defer line.Destroy()
	ctx, cancel := context.WithTimeout(ctx, linuxPatience)
	defer cancel()
	res, err := h.Run(ctx, remote.Script{Line: linuxGrant}, line)
	if err != nil {
		return err
	}
	if res.ExitCode == 0 && bytes.Contains(res.Stdout, []byte("granted")) {
		h.prefix, h.first = linuxSudoAsks, pw
		return nil
	}
	return h.refusedSudo(res.Stderr)
}

// refusedSudo says why sudo did not let us. Its words are those of LC_ALL=C;
// what we do not know is taken for a wrong password.
func (h *linuxHost) refusedSudo(stderr []byte) error {
	said := h.printable(stderr)
	at := h.a.Admin.Address()
	switch {
	case strings.Contains(said, "must have a tty"):
		return pam.Errorf(pam.ErrPolicy, "%s: sudo wants a terminal of %s, which we never open; nothing was changed", at, h.admin()).
			WithHint("on the machine, with visudo: Defaults:%s !requiretty", h.admin())
	case strings.Contains(said, "not in the sudoers"), strings.Contains(said, "not allowed"), strings.Contains(said, "may not run"):
		return pam.Errorf(pam.ErrPolicy, "%s: sudo does not let %s become root (%s); nothing was changed", at, h.admin(), said).
			WithHint("on the machine, with visudo: %s ALL=(root) /bin/sh", h.admin())
	}
	return pam.Errorf(pam.ErrAuthFailed, "%s: sudo refused the password of %s (%s); it was tried once, and nothing was changed",
		at, h.admin(), said).WithHint("correct the password of %s's record, or let it use sudo without one (NOPASSWD)", h.admin())
}

func (h *linuxHost) admin() string { return strconv.QuoteToGraphic(h.a.Admin.User) }

// run runs one of our scripts with body, whose lines follow the header. What a
// broken connection left of the output is returned beside the error.
func (h *linuxHost) run(ctx context.Context, script string, body []byte) (linuxFrames, error) {
	ctx, cancel := context.WithTimeout(ctx, linuxPatience)
	defer cancel()
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return linuxFrames{}, fmt.Errorf("draw a nonce: %w", err)
	}
	nonce := hex.EncodeToString(b[:])
	var in []byte
	if !h.first.IsZero() {
		in = append(append(in, h.first.Reveal()...), '\n')
	}
	in = append(in, "keyturn1 "+nonce+"\n"...)
	in = append(in, body...)
	in = append(in, "end "+nonce+"\n"...)
	input := secret.New(in)
	defer input.Destroy()
	// Left alone when ctx ends: a change that has begun is better finished, and
	// nobody but root could end it.
	res, err := h.Run(ctx, remote.Script{Line: h.prefix + script + `'`, KeepRunning: true}, input)
	f := parseLinuxFrames(res.Stdout, nonce)
	if err == nil && f.end == "" {
		err = &linuxSilence{code: res.ExitCode, said: h.printable(res.Stderr)}
	}
	return f, err
}

// A linuxSilence is a command that ended and left no last line of ours: it did
// not run, or not to its end.
type linuxSilence struct {
	code int
	said string
}

// Error says what was left instead.
func (e *linuxSilence) Error() string {
	return fmt.Sprintf("the script left no answer (exit code %d, %q)", e.code, e.said)
}

// printable makes what a machine wrote fit for a message: one short line,
// escaped, and nothing of it where it holds a password.
func (h *linuxHost) printable(b []byte, secrets ...secret.Value) string {
	const most = 300
	for _, s := range append(secrets, h.a.Admin.Password) {
		if !s.IsZero() && bytes.Contains(b, s.Reveal()) {
			return "its answer quoted a password and is left out"
		}
	}
	b = bytes.TrimSpace(b)
	if len(b) > most {
		b = b[:most]
	}
	q := strconv.QuoteToGraphic(string(b))
	return strings.ReplaceAll(q[1:len(q)-1], `\n`, "; ")
}

// linuxFrames are the lines of a script's answer, by their first word.
type linuxFrames struct {
	values map[string][]string
	end    string // "" where the last line did not arrive
}

func (f linuxFrames) one(key string) string {
	if v := f.values[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (f linuxFrames) has(key string) bool { return len(f.values[key]) > 0 }

// parseLinuxFrames picks our lines out of what a machine wrote. Nothing counts
// after the last line, nor a line without its end.
func parseLinuxFrames(out []byte, nonce string) linuxFrames {
	f := linuxFrames{values: map[string][]string{}}
	prefix := []byte("kt1 " + nonce + " ")
	for line := range bytes.Lines(out) {
		line, whole := bytes.CutSuffix(line, []byte("\n"))
		rest, ours := bytes.CutPrefix(line, prefix)
		if !whole || !ours {
			continue
		}
		key, value, _ := strings.Cut(string(rest), " ")
		if key == "end" {
			f.end = value
			return f
		}
		f.values[key] = append(f.values[key], value)
	}
	return f
}

// linuxEscape writes b in octal, for printf %b: a shell's read takes blanks,
// backslashes and bytes that are no characters its own way.
func linuxEscape(b []byte) []byte {
	out := make([]byte, 0, 5*len(b))
	for _, c := range b {
		out = append(out, '\\', '0', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
	}
	return out
}

// explain turns a silence into a failure for people. Other errors pass.
func (h *linuxHost) explain(err error) error {
	if _, ok := errors.AsType[*linuxSilence](err); !ok {
		return err
	}
	return pam.Errorf(pam.ErrIO, "%s: %w; nothing was changed", h.a.Admin.Address(), err).
		WithHint("look at what %s's log-in shell and sudo do with a command", h.admin())
}
