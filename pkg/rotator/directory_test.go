package rotator_test

import (
	"crypto/rand"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/directory"
	"keyturn/pkg/lab/ldapd"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
)

const (
	directoryOld = "0ld-Directory-pw"
	directoryNew = "N3w-Directory-pw"
)

// A labDirectory is a practice domain with its controller.
type labDirectory struct {
	*model.Domain
	server *ldapd.Server
}

func newLabDirectory(t *testing.T, users ...model.User) (*labDirectory, rotator.Authority) {
	t.Helper()
	d := &labDirectory{Domain: model.NewDomain("LAB", "lab.example", model.Policy{MinLength: 8, LockoutThreshold: 5})}
	d.Add(model.User{Sam: "boss", Password: pw("b0ss-Directory-pw")})
	for _, u := range append(users, model.User{Sam: "svc", Password: pw(directoryOld)}) {
		d.Add(u)
	}
	cert, err := winrmd.SelfSigned("dc01", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d.server, err = ldapd.Start(t.Context(), ldapd.Options{Domain: d.Domain, Certificate: cert, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.server.Close() })
	host, port, _ := net.SplitHostPort(d.server.Address())
	n, _ := strconv.Atoi(port)
	return d, rotator.Authority{
		Kind: pam.AuthorityDirectory, Account: pam.Account{Name: `LAB\svc`},
		Admin: remote.Target{
			Endpoint: remote.Endpoint{Transport: pam.LDAPS, Host: host, Port: n, Pin: d.server.Pin()},
			User:     `LAB\boss`, Password: pw("b0ss-Directory-pw"),
		},
	}
}

func directoryRotator() *rotator.Directory {
	return rotator.NewDirectory(directory.Options{Now: time.Now})
}

func TestADirectoryIsCheckedAndChangedAndVerified(t *testing.T) {
	t.Parallel()
	d, a := newLabDirectory(t)
	r := directoryRotator()
	f, err := r.Check(t.Context(), a)
	if err != nil || f.Identity.Alias != f.Identity.SID || f.Identity.Name != `LAB\svc` || f.MachineID != d.SID() ||
		f.LockoutThreshold == nil || *f.LockoutThreshold != 5 || f.SelfRotation || len(f.Warnings) != 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	before, err := r.Evidence(t.Context(), a)
	if err != nil || !before.Exact || before.Mark == "" {
		t.Fatalf("%+v, %v", before, err)
	}
	a.Account.SID = f.Identity.SID
	outcome, err := r.Set(t.Context(), a, rotator.Change{Next: pw(directoryNew), Expect: before})
	if err != nil || outcome != pam.OutcomeApplied || !d.Matches("svc", pw(directoryNew)) {
		t.Fatalf("%s, %v", outcome, err)
	}
	after, err := r.Evidence(t.Context(), a)
	if err != nil || !before.Moved(after) {
		t.Errorf("%+v, then %+v, %v", before, after, err)
	}
	for password, want := range map[string]pam.Verdict{directoryNew: pam.VerdictRight, directoryOld: pam.VerdictWrong} {
		if got, err := r.Verify(t.Context(), a, pw(password)); got != want || err != nil {
			t.Errorf("%s is %s, %v", password, got, err)
		}
	}
	// What it was before is not in force any more: somebody else would be overwritten.
	outcome, err = r.Set(t.Context(), a, rotator.Change{Next: pw(directoryOld), Expect: before})
	if outcome != pam.OutcomeRefused || pam.KindOf(err) != pam.ErrDrift {
		t.Errorf("%s, %v", outcome, err)
	}
	a.Account.SID += "0"
	outcome, err = r.Set(t.Context(), a, rotator.Change{Next: pw(directoryOld)})
	if outcome != pam.OutcomeRefused || pam.KindOf(err) != pam.ErrDrift || !strings.Contains(err.Error(), "another account") {
		t.Errorf("%s, %v", outcome, err)
	}
	if !d.Matches("svc", pw(directoryNew)) {
		t.Error("a refused change was made")
	}
}

func TestADirectorysAccountThatCannotHaveANewPasswordIsRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		user model.User
		kind pam.Kind
		text string
	}{
		{"a disabled one", model.User{Sam: "x", Disabled: true}, pam.ErrPolicy, "is disabled"},
		{"one that must change it", model.User{Sam: "x", MustChange: true}, pam.ErrPolicy, "must change its password"},
		{"one that has expired", model.User{Sam: "x", Expired: true}, pam.ErrPolicy, "has expired"},
		{"a managed one", model.User{Sam: "x", Managed: true}, pam.ErrPolicy, "managed_account"},
		{"the key of all tickets", model.User{Sam: "x", RID: 502}, pam.ErrPolicy, "of the domain itself"},
		{"none of that name", model.User{Sam: "y"}, pam.ErrInvalidInput, "there is no account"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.user.Password = pw(directoryOld)
			d, a := newLabDirectory(t, row.user)
			a.Account.Name = `LAB\x`
			_, err := directoryRotator().Check(t.Context(), a)
			if pam.KindOf(err) != row.kind || !strings.Contains(err.Error(), row.text) || !strings.Contains(err.Error(), "nothing changed") {
				t.Errorf("check: %v", err)
			}
			outcome, err := directoryRotator().Set(t.Context(), a, rotator.Change{Next: pw(directoryNew)})
			if pam.KindOf(err) != row.kind || outcome != pam.OutcomeRefused || d.Matches(row.user.Sam, pw(directoryNew)) {
				t.Errorf("set: %s, %v", outcome, err)
			}
		})
	}
}

func TestAnAdminDoesNotChangeItsOwnPassword(t *testing.T) {
	t.Parallel()
	_, a := newLabDirectory(t)
	a.Account.Name = "boss@lab.example"
	if f, err := directoryRotator().Check(t.Context(), a); err != nil || !f.SelfRotation {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestAPasswordThatCannotArriveIsNotSent(t *testing.T) {
	t.Parallel()
	d, a := newLabDirectory(t)
	outcome, err := directoryRotator().Set(t.Context(), a, rotator.Change{Next: pw("with\x00nothing")})
	if outcome != pam.OutcomeRefused || pam.KindOf(err) != pam.ErrPolicy || d.server.Binds() != 0 {
		t.Errorf("%s, %v", outcome, err)
	}
}

func TestALostAnswerOfADirectoryIsUnknown(t *testing.T) {
	t.Parallel()
	d, a := newLabDirectory(t)
	d.server.SetFaults(ldapd.Faults{CutAfter: true})
	outcome, err := directoryRotator().Set(t.Context(), a, rotator.Change{Next: pw(directoryNew)})
	if outcome != pam.OutcomeUnknown || err == nil || !d.Matches("svc", pw(directoryNew)) {
		t.Errorf("%s, %v", outcome, err)
	}
}

func TestADirectoryUnlocksAnAccountOnlyWhenItIsAsked(t *testing.T) {
	t.Parallel()
	d, a := newLabDirectory(t, model.User{Sam: "x", Locked: true, Password: pw(directoryOld)})
	a.Account.Name = `LAB\x`
	r := directoryRotator()
	if f, err := r.Check(t.Context(), a); err != nil || !f.Locked {
		t.Errorf("%+v, %v", f, err)
	}
	outcome, err := r.Set(t.Context(), a, rotator.Change{Next: pw(directoryNew)})
	if outcome != pam.OutcomeRefused || !strings.Contains(err.Error(), "is locked out; nothing changed") || d.Matches("x", pw(directoryNew)) {
		t.Errorf("%s, %v", outcome, err)
	}
	for range 2 { // twice is once
		if err := r.Unlock(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	outcome, err = r.Set(t.Context(), a, rotator.Change{Next: pw(directoryNew)})
	if outcome != pam.OutcomeApplied || err != nil {
		t.Errorf("%s, %v", outcome, err)
	}
	if v, err := r.Verify(t.Context(), a, pw(directoryNew)); v != pam.VerdictRight || err != nil {
		t.Errorf("%s, %v", v, err)
	}
}
