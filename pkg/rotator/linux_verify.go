package rotator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

const (
	linuxLogOn = 20 * time.Second
	// linuxMaxTest is what every release of unix_chkpwd reads of a password.
	linuxMaxTest = 199
)

// Verify logs in once as the account.
//
// A server that lets it in has proven the password: right, or right_restricted
// where the account may not run a command (a nologin shell, a forced command, an
// expired password). What a server refuses proves nothing by itself, because
// sshd answers a user that it denies (DenyUsers, AllowGroups, no password
// authentication, a faillock) with the same words as a wrong password. Then the
// admin asks the machine's own unix_chkpwd, which compares with the hash and
// counts as no log-in: a match is right_restricted, a mismatch wrong. Without
// that helper, or for a locked account, which matches nothing, nobody can tell.
//
// An error says that neither could be tried.
func (l *Linux) Verify(ctx context.Context, a Authority, pw secret.Value) (pam.Verdict, error) {
	if err := checkLinux(a); err != nil {
		return pam.VerdictNone, err
	}
	if err := password.Valid(pw); err != nil {
		return pam.VerdictNone, fmt.Errorf("verify the password of %s: %w", a.Account.Name, err)
	}
	logOn, cancel := context.WithTimeout(ctx, linuxLogOn)
	defer cancel()
	s, err := l.dialer.Dial(logOn, remote.Target{Endpoint: a.Admin.Endpoint, User: a.Account.Name, Password: pw})
	if err == nil {
		defer func() { _ = s.Close() }()
		return whoAmI(logOn, s, a.Account.Name), nil
	}
	if !errors.Is(err, pam.ErrAuthFailed) {
		return pam.VerdictNone, fmt.Errorf("verify the password of %s: %w", a.Account.Name, err)
	}
	if a.Admin.User == a.Account.Name && a.Admin.PrivateKey.IsZero() && a.Admin.Agent == "" {
		// The admin is the account itself: asking it would be a second attempt.
		return pam.VerdictCannotTell, nil
	}
	return l.compare(ctx, a, pw)
}

// whoAmI tells right from right_restricted: the log-in itself has succeeded.
func whoAmI(ctx context.Context, s remote.Session, name string) pam.Verdict {
	res, err := s.Run(ctx, remote.Script{Line: linuxWhoAmI}, secret.Value{})
	if err != nil || res.ExitCode != 0 {
		return pam.VerdictRestricted
	}
	for line := range bytes.Lines(res.Stdout) {
		if string(bytes.TrimSpace(line)) == name {
			return pam.VerdictRight
		}
	}
	return pam.VerdictRestricted
}

// compare asks the machine, as its admin, whether pw is the account's.
func (l *Linux) compare(ctx context.Context, a Authority, pw secret.Value) (pam.Verdict, error) {
	if pw.Len() > linuxMaxTest {
		return pam.VerdictCannotTell, nil
	}
	h, err := openLinux(ctx, l.dialer, a)
	if err != nil {
		return pam.VerdictNone, fmt.Errorf("verify the password of %s: its log-in was refused, and the admin cannot look why: %w",
			a.Account.Name, err)
	}
	defer func() { _ = h.Close() }()
	escaped := linuxEscape(pw.Reveal())
	body := append(append([]byte(a.Account.Name+"\n"), escaped...), '\n')
	clear(escaped)
	defer clear(body)
	f, err := h.run(ctx, linuxTest, body)
	if err != nil {
		return pam.VerdictNone, fmt.Errorf("verify the password of %s: %w", a.Account.Name, h.explain(err))
	}
	if f.end != "ok" || f.one("class") != "set" {
		return pam.VerdictCannotTell, nil
	}
	switch f.one("code") {
	case "0": // PAM_SUCCESS
		return pam.VerdictRestricted, nil
	case "7": // PAM_AUTH_ERR
		return pam.VerdictWrong, nil
	}
	return pam.VerdictCannotTell, nil
}
