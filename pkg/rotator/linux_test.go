package rotator_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/sshtest"
	"keyturn/pkg/rotator"
	"keyturn/pkg/secret"
)

const (
	linuxOld   = "Old-Pw-0001!"
	linuxNew   = "New-Pw-0002!"
	linuxAdmin = "Adm1n-Pw-0001!"
)

func pw(s string) secret.Value { return secret.Copy([]byte(s)) }

// linuxMachine is a machine with every kind of admin, and svc_app.
func linuxMachine(t *testing.T, o sshtest.Options) *sshtest.Server {
	t.Helper()
	o.Users = append([]sshtest.User{
		{Name: "root", Password: linuxAdmin},
		{Name: "boss", Password: linuxAdmin, Sudo: sshtest.SudoNoPassword},
		{Name: "rotator", Password: linuxAdmin, Sudo: sshtest.SudoPassword},
		{Name: "nobody1", Password: linuxAdmin},
		{Name: "svc_app", Password: linuxOld},
	}, o.Users...)
	return sshtest.Start(t, o)
}

func linuxAuthority(s *sshtest.Server, admin, account string) rotator.Authority {
	return rotator.Authority{
		Kind:    pam.AuthorityLinux,
		Account: pam.Account{Authority: pam.AuthorityLinux, Name: account},
		Admin:   remote.Target{Endpoint: s.Endpoint(), User: admin, Password: pw(linuxAdmin)},
		Run:     "AAAAAAAAAAAAAAAAAAAAAA",
	}
}

func newLinux() *rotator.Linux { return rotator.NewLinux(ssh.NewDialer(ssh.Options{})) }

func wantLinuxOutcome(t *testing.T, got pam.Outcome, err error, want pam.Outcome, kind pam.Kind) {
	t.Helper()
	if got != want {
		t.Errorf("outcome %q (%v), want %q", got, err, want)
	}
	if kind == "" && err != nil {
		t.Errorf("error %v, want none", err)
	}
	if kind != "" && !errors.Is(err, kind) {
		t.Errorf("error %v, want one of kind %q", err, kind)
	}
}

func wantVerdict(t *testing.T, l *rotator.Linux, a rotator.Authority, password string, want pam.Verdict) {
	t.Helper()
	got, err := l.Verify(t.Context(), a, pw(password))
	if err != nil || got != want {
		t.Errorf("verdict %q, %v; want %q", got, err, want)
	}
}

func TestLinuxRotatesForEveryKindOfAdmin(t *testing.T) {
	t.Parallel()
	for _, admin := range []string{"root", "boss", "rotator"} {
		t.Run(admin, func(t *testing.T) {
			t.Parallel()
			noise := "echo kt1 0123 end ok; echo noise >&2"
			s := linuxMachine(t, sshtest.Options{Bashrc: noise})
			a, l := linuxAuthority(s, admin, "svc_app"), newLinux()
			f, err := l.Check(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if want := f.MachineID + "/svc_app"; len(f.MachineID) != 32 || f.Identity.Alias != want || f.SelfRotation || f.Locked {
				t.Errorf("findings %+v", f)
			}
			if f.LockoutThreshold == nil || *f.LockoutThreshold != 0 || len(f.Warnings) != 0 {
				t.Errorf("findings %+v", f)
			}
			before, err := l.Evidence(t.Context(), a)
			if err != nil || !before.Exact || strings.Contains(before.Mark, s.Shadow("svc_app")) {
				t.Fatalf("evidence %+v, %v", before, err)
			}
			wantVerdict(t, l, a, linuxNew, pam.VerdictWrong)
			got, err := l.Set(t.Context(), a, rotator.Change{Next: pw(linuxNew), Expect: before})
			wantLinuxOutcome(t, got, err, pam.OutcomeApplied, "")
			after, err := l.Evidence(t.Context(), a)
			if err != nil || !before.Moved(after) {
				t.Errorf("evidence %+v, then %+v, %v", before, after, err)
			}
			wantVerdict(t, l, a, linuxNew, pam.VerdictRight)
			wantVerdict(t, l, a, linuxOld, pam.VerdictWrong)
		})
	}
}

func TestLinuxSetsOddPasswords(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{})
	for i, admin := range []string{"root", "rotator"} {
		a, l := linuxAuthority(s, admin, "svc_app"), newLinux()
		for name, password := range map[string]string{
			"colons and quotes":            `a:b'c"d$e` + "`id`" + `%s%n`,
			"blanks at both ends":          "  a b  ",
			"backslashes and octal":        `\0101\n\\\c-end`,
			"letters of other scripts":     "пароль漢字😀é",
			"bytes that shells use inside": "āĂăȁ聁聂\u0481x",
			"a leading dash":               "-e -- -m",
			"199 bytes":                    strings.Repeat("aB3-", 49) + "xyz",
			"one letter":                   "x",
		} {
			password = password + fmt.Sprint(i) // each differs from the one before
			got, err := l.Set(t.Context(), a, rotator.Change{Next: pw(password)})
			if got != pam.OutcomeApplied || err != nil {
				t.Errorf("%s: outcome %q, %v", name, got, err)
				continue
			}
			if v, err := l.Verify(t.Context(), a, pw(password)); err != nil || v != pam.VerdictRight {
				t.Errorf("%s: verdict %q, %v", name, v, err)
			}
		}
	}
}

func TestLinuxRefusesToSet(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{Users: []sshtest.User{{Name: "locked", Password: linuxOld}, {Name: "daemon1"}}})
	if _, err := s.Run(t.Context(), "", "passwd", "-l", "locked"); err != nil {
		t.Fatal(err)
	}
	good := linuxAuthority(s, "root", "svc_app")
	with := func(change func(a *rotator.Authority)) rotator.Authority {
		a := good
		change(&a)
		return a
	}
	rows := map[string]struct {
		a       rotator.Authority
		next    string
		expect  pam.Evidence
		outcome pam.Outcome
		kind    pam.Kind
		says    string
	}{
		"an unknown account":                    {linuxAuthority(s, "root", "ghost"), linuxNew, pam.Evidence{}, pam.OutcomeRefused, pam.ErrPolicy, "no line in /etc/shadow"},
		"a locked account":                      {linuxAuthority(s, "root", "locked"), linuxNew, pam.Evidence{}, pam.OutcomeRefused, pam.ErrPolicy, "locked"},
		"an account without a password":         {linuxAuthority(s, "boss", "daemon1"), linuxNew, pam.Evidence{}, pam.OutcomeRefused, pam.ErrPolicy, "has no password"},
		"a hash that is not the expected one":   {good, linuxNew, pam.Evidence{Mark: "sha256:" + strings.Repeat("0", 64), Exact: true}, pam.OutcomeRefused, pam.ErrDrift, "somebody else"},
		"evidence of another kind of authority": {good, linuxNew, pam.Evidence{Mark: "13353", Exact: true}, pam.OutcomeNone, pam.ErrInternal, "evidence"},
		"a password with a line feed":           {good, "New-Pw\n-0002!", pam.Evidence{}, pam.OutcomeNone, pam.ErrPolicy, "control character"},
		"an endless password":                   {good, strings.Repeat("x", 512), pam.Evidence{}, pam.OutcomeNone, pam.ErrPolicy, "512 bytes"},
		"a name that is an option":              {linuxAuthority(s, "root", "-e"), linuxNew, pam.Evidence{}, pam.OutcomeNone, pam.ErrInvalidInput, "name"},
		"a name of two lines":                   {linuxAuthority(s, "root", "a\nb"), linuxNew, pam.Evidence{}, pam.OutcomeNone, pam.ErrInvalidInput, "name"},
		"a name with a colon":                   {linuxAuthority(s, "root", "svc_app:x"), linuxNew, pam.Evidence{}, pam.OutcomeNone, pam.ErrInvalidInput, "name"},
		"an admin that may not use sudo":        {linuxAuthority(s, "nobody1", "svc_app"), linuxNew, pam.Evidence{}, pam.OutcomeNone, pam.ErrPolicy, "not in the sudoers"},
		"a wrong password of the admin":         {with(func(a *rotator.Authority) { a.Admin.Password = pw("wr0ng") }), linuxNew, pam.Evidence{}, pam.OutcomeNone, pam.ErrAuthFailed, "log in"},
		"an unknown host key":                   {with(func(a *rotator.Authority) { a.Admin.HostKeys = nil }), linuxNew, pam.Evidence{}, pam.OutcomeNone, pam.ErrUntrusted, "not known"},
		"a Windows account":                     {with(func(a *rotator.Authority) { a.Kind = pam.AuthorityWindows }), linuxNew, pam.Evidence{}, pam.OutcomeNone, pam.ErrInternal, "kind"},
	}
	hash := func() string { return s.Shadow("svc_app") + s.Shadow("locked") + s.Shadow("daemon1") }
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			before := hash()
			got, err := newLinux().Set(t.Context(), row.a, rotator.Change{Next: pw(row.next), Expect: row.expect})
			wantLinuxOutcome(t, got, err, row.outcome, row.kind)
			if err == nil || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), row.next) {
				t.Errorf("the error %v does not say %q", err, row.says)
			}
			if hash() != before {
				t.Error("a hash changed")
			}
		})
	}
	for account, kind := range map[string]pam.Kind{"ghost": pam.ErrNotFound, "locked": pam.ErrPolicy, "daemon1": pam.ErrPolicy} {
		f, err := newLinux().Check(t.Context(), linuxAuthority(s, "root", account))
		if !errors.Is(err, kind) || f.Locked != (account == "locked") {
			t.Errorf("check of %s: %+v, %v", account, f, err)
		}
	}
}

func TestLinuxAWrongSudoPasswordCostsOneAttempt(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{Sudoers: "Defaults:rotator rootpw"})
	if _, err := s.Run(t.Context(), "root:An0ther-Pw!\n", "chpasswd", "-c", "SHA512"); err != nil {
		t.Fatal(err)
	}
	before := s.Shadow("svc_app")
	got, err := newLinux().Set(t.Context(), linuxAuthority(s, "rotator", "svc_app"), rotator.Change{Next: pw(linuxNew)})
	wantLinuxOutcome(t, got, err, pam.OutcomeNone, pam.ErrAuthFailed)
	if err == nil || !strings.Contains(err.Error(), "1 incorrect password attempt") {
		t.Errorf("sudo counted more than one attempt: %v", err)
	}
	if s.Shadow("svc_app") != before {
		t.Error("the hash changed")
	}
}

func TestLinuxPolicyRefusal(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{EnforcePolicy: true})
	before := s.Shadow("svc_app")
	got, err := newLinux().Set(t.Context(), linuxAuthority(s, "rotator", "svc_app"), rotator.Change{Next: pw("short7")})
	wantLinuxOutcome(t, got, err, pam.OutcomeRefused, pam.ErrPolicy)
	if err == nil || !strings.Contains(err.Error(), "BAD PASSWORD") || strings.Contains(err.Error(), "short7") {
		t.Errorf("the error is %v", err)
	}
	if s.Shadow("svc_app") != before {
		t.Error("the hash changed")
	}
}

func TestLinuxVerifiesAccountsThatCannotLogIn(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{
		Users: []sshtest.User{
			{Name: "nologin", Password: linuxOld, Shell: "/usr/sbin/nologin"},
			{Name: "denied", Password: linuxOld},
			{Name: "keyonly", Password: linuxOld},
			{Name: "expired", Password: linuxOld},
			{Name: "mustchange", Password: linuxOld},
			{Name: "locked", Password: linuxOld},
		},
		Config: "DenyUsers denied",
		Match:  "Match User keyonly\nPasswordAuthentication no",
	})
	for _, args := range [][]string{
		{"chage", "-E", "1", "expired"},
		{"chage", "-d", "0", "mustchange"},
		{"passwd", "-l", "locked"},
	} {
		if _, err := s.Run(t.Context(), "", args...); err != nil {
			t.Fatal(err)
		}
	}
	for name, row := range map[string]struct {
		account, password string
		want              pam.Verdict
	}{
		"a nologin shell, right":              {"nologin", linuxOld, pam.VerdictRestricted},
		"a nologin shell, wrong":              {"nologin", linuxNew, pam.VerdictWrong},
		"a user that sshd denies, right":      {"denied", linuxOld, pam.VerdictRestricted},
		"a user that sshd denies, wrong":      {"denied", linuxNew, pam.VerdictWrong},
		"no password authentication, right":   {"keyonly", linuxOld, pam.VerdictRestricted},
		"no password authentication, wrong":   {"keyonly", linuxNew, pam.VerdictWrong},
		"an expired account, right":           {"expired", linuxOld, pam.VerdictRestricted},
		"an expired account, wrong":           {"expired", linuxNew, pam.VerdictWrong},
		"a password that must change, right":  {"mustchange", linuxOld, pam.VerdictRestricted},
		"a password that must change, wrong":  {"mustchange", linuxNew, pam.VerdictWrong},
		"a locked account matches nothing":    {"locked", linuxOld, pam.VerdictCannotTell},
		"an account that may log in, right":   {"svc_app", linuxOld, pam.VerdictRight},
		"an unknown account has no password ": {"ghost", linuxOld, pam.VerdictCannotTell},
	} {
		t.Run(name, func(t *testing.T) {
			wantVerdict(t, newLinux(), linuxAuthority(s, "rotator", row.account), row.password, row.want)
		})
	}
	f, err := newLinux().Check(t.Context(), linuxAuthority(s, "root", "expired"))
	if err != nil || !f.Disabled || len(f.Warnings) != 1 {
		t.Errorf("check of the expired account: %+v, %v", f, err)
	}
	f, err = newLinux().Check(t.Context(), linuxAuthority(s, "root", "nologin"))
	if err != nil || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], "nologin") {
		t.Errorf("check of the nologin account: %+v, %v", f, err)
	}
	if _, err := s.Run(t.Context(), "", "sh", "-c", "mount --bind /bin/false $(command -v unix_chkpwd)"); err != nil {
		t.Fatal(err)
	}
	// exit code 1 is no answer of unix_chkpwd
	wantVerdict(t, newLinux(), linuxAuthority(s, "root", "denied"), linuxNew, pam.VerdictCannotTell)
}

func TestLinuxALockedShadowFileEndsInTime(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{})
	unlock, err := s.LockShadow()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	before := s.Shadow("svc_app")
	start := time.Now()
	got, err := newLinux().Set(t.Context(), linuxAuthority(s, "boss", "svc_app"), rotator.Change{Next: pw(linuxNew)})
	if s.Shadow("svc_app") != before {
		t.Error("the hash changed")
	}
	if took := time.Since(start); took > 40*time.Second {
		t.Errorf("it took %v", took)
	}
	// chpasswd gives up by itself after 15 s where its C library does.
	if got != pam.OutcomeRefused || !errors.Is(err, pam.ErrConflict) && !errors.Is(err, pam.ErrPolicy) {
		t.Errorf("outcome %q, %v", got, err)
	}
}

// held makes chpasswd stop before it does anything, or after it has, until the
// test writes /run/go.
func held(t *testing.T, s *sshtest.Server, when string) {
	t.Helper()
	wait := "touch /run/reached; while [ ! -e /run/go ]; do sleep 0.02; done\n"
	script := wait + `exec "$REAL" "$@"`
	if when == "after" {
		script = `"$REAL" "$@"; code=$?` + "\n" + wait + "exit $code"
	}
	if err := s.Wrap(t.Context(), "/usr/sbin/chpasswd", script); err != nil {
		t.Fatal(err)
	}
}

func reached(t *testing.T, s *sshtest.Server) {
	t.Helper()
	for t.Context().Err() == nil {
		if _, err := s.ReadRun("reached"); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestLinuxNoProcessShowsThePassword(t *testing.T) {
	t.Parallel()
	for _, admin := range []string{"root", "rotator"} {
		s := linuxMachine(t, sshtest.Options{})
		held(t, s, "before")
		done := make(chan error, 1)
		go func() {
			_, err := newLinux().Set(t.Context(), linuxAuthority(s, admin, "svc_app"), rotator.Change{Next: pw(linuxNew)})
			done <- err
		}()
		reached(t, s)
		lines := s.Processes()
		environments, err := s.Run(t.Context(), "", "sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; "+
			"find /tmp /run /var/log /root /home -xdev -type f -newer /etc/machine-id -exec grep -l New-Pw-0002 {} + 2>/dev/null; true")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.WriteRun("go", ""); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "keyturn1") }) {
			t.Errorf("the sample missed the script: %q", lines)
		}
		all := strings.Join(lines, "\n") + environments + s.Log()
		for _, secret := range []string{linuxNew, linuxAdmin, "New-Pw", `\0116\0145\0167`} {
			if strings.Contains(all, secret) {
				t.Errorf("%s: %q shows in a process, an environment, a file or the log", admin, secret)
			}
		}
	}
}

func TestLinuxALostAnswerIsUnknown(t *testing.T) {
	t.Parallel()
	for when, applied := range map[string]bool{"before": false, "after": true} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := linuxMachine(t, sshtest.Options{})
			held(t, s, when)
			a, l := linuxAuthority(s, "boss", "svc_app"), newLinux()
			before, err := l.Evidence(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			type answer struct {
				outcome pam.Outcome
				err     error
			}
			done := make(chan answer, 1)
			go func() {
				o, err := l.Set(t.Context(), a, rotator.Change{Next: pw(linuxNew), Expect: before})
				done <- answer{o, err}
			}()
			reached(t, s)
			s.Drop()
			got := <-done
			wantLinuxOutcome(t, got.outcome, got.err, pam.OutcomeUnknown, pam.ErrIO)
			var e *remote.Error
			if !errors.As(got.err, &e) || !e.Sent {
				t.Errorf("the error %v does not say that it was sent", got.err)
			}
			after, err := l.Evidence(t.Context(), a)
			if err != nil || before.Moved(after) != applied {
				t.Errorf("evidence %+v, then %+v, %v", before, after, err)
			}
		})
	}
}

func TestLinuxDriftBetweenEvidenceAndSet(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{})
	a, l := linuxAuthority(s, "rotator", "svc_app"), newLinux()
	seen, err := l.Evidence(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), "svc_app:S0mebody-Else!\n", "chpasswd"); err != nil {
		t.Fatal(err)
	}
	got, err := l.Set(t.Context(), a, rotator.Change{Next: pw(linuxNew), Expect: seen})
	wantLinuxOutcome(t, got, err, pam.OutcomeRefused, pam.ErrDrift)
	wantVerdict(t, l, a, "S0mebody-Else!", pam.VerdictRight)
}

func TestLinuxRotatesItsOwnAdmin(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{})
	a, l := linuxAuthority(s, "rotator", "rotator"), newLinux()
	f, err := l.Check(t.Context(), a)
	if err != nil || !f.SelfRotation {
		t.Fatalf("findings %+v, %v", f, err)
	}
	got, err := l.Set(t.Context(), a, rotator.Change{Next: pw(linuxNew)})
	wantLinuxOutcome(t, got, err, pam.OutcomeApplied, "")
	wantVerdict(t, l, a, linuxNew, pam.VerdictRight)
	wantVerdict(t, l, a, rand.Text(), pam.VerdictCannotTell)
}

func TestLinuxWithoutMachineID(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{MachineID: "none"})
	f, err := newLinux().Check(t.Context(), linuxAuthority(s, "root", "svc_app"))
	if err != nil || f.MachineID != "" || !strings.HasPrefix(f.Identity.Alias, "hostkey-") || len(f.Warnings) != 1 {
		t.Errorf("findings %+v, %v", f, err)
	}
}

// Debian's sh is dash; elsewhere it is bash.
func TestLinuxWithBashForSh(t *testing.T) {
	t.Parallel()
	s := linuxMachine(t, sshtest.Options{Config: "DenyUsers svc_app"})
	if _, err := s.Run(t.Context(), "", "sh", "-c", `mount --bind /bin/bash "$(readlink -f /bin/sh)"`); err != nil {
		t.Fatal(err)
	}
	const odd = ` \0101"'$x: āĂ聁😀 `
	a, l := linuxAuthority(s, "rotator", "svc_app"), newLinux()
	got, err := l.Set(t.Context(), a, rotator.Change{Next: pw(odd)})
	wantLinuxOutcome(t, got, err, pam.OutcomeApplied, "")
	wantVerdict(t, l, a, odd, pam.VerdictRestricted)
	wantVerdict(t, l, a, linuxOld, pam.VerdictWrong)
}
