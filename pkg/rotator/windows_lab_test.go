package rotator_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
	"keyturn/pkg/secret"
)

const (
	windowsOld = "0ld-Windows-pw"
	windowsNew = "N3w-Windows-pw"
)

// A labWindows is a model of one machine whose script runs in process.
type labWindows struct {
	*model.Machine
	cut func(model.Event) bool // kills the script after an event
}

func newLabWindows(users ...model.User) *labWindows {
	m := model.NewMachine(model.MachineSpec{
		Name: "SRV1", Clock: model.NewStepClock(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)), Session: `SRV1\boss`,
		Policy: model.Policy{MinLength: 8, LockoutThreshold: 5},
	})
	m.Local().Add(model.User{Sam: "boss", Password: pw("b0ss-pw")})
	m.Local().Add(model.User{Sam: "svc", Password: pw(windowsOld)})
	for _, u := range users {
		m.Local().Add(u)
	}
	return &labWindows{Machine: m}
}

func (l *labWindows) Dial(context.Context, remote.Target) (remote.Session, error) { return l, nil }
func (*labWindows) Close() error                                                  { return nil }

func (l *labWindows) Run(ctx context.Context, s remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	l.Hook(func(e model.Event) {
		if l.cut != nil && l.cut(e) {
			kill()
		}
	})
	var out bytes.Buffer
	code := script.Answer(ctx, l.Machine, "", bytes.NewReader(in.Reveal()), &out)
	s.OnOutput(out.Bytes())
	if code == script.ExitKilled {
		return remote.Result{}, &remote.Error{Kind: pam.ErrIO, Address: "srv1:5986", Op: "read", Err: errors.New("reset"), Sent: true}
	}
	return remote.Result{ExitCode: code}, nil
}

// windowsAccount is svc as a job knows it after its check.
func windowsAccount(t *testing.T, l *labWindows, login string) rotator.Authority {
	t.Helper()
	a := windowsAuthority
	a.Account.Name = login
	f, err := newWindows(l).Check(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	a.Account.SID, a.Account.Identity = f.Identity.SID, f.Identity.Alias
	return a
}

func TestLabWindowsCheck(t *testing.T) {
	t.Parallel()
	l := newLabWindows(
		model.User{Sam: "off", Password: pw("x"), Disabled: true}, model.User{Sam: "shut", Password: pw("x"), Locked: true},
		model.User{Sam: "stale", Password: pw("x"), MustChange: true}, model.User{Sam: "gapp$", Password: pw("x"), Managed: true},
	)
	var ids []pam.Identity
	for _, login := range []string{"svc", `.\svc`, `srv1\SVC`} { // one account
		f, err := newWindows(l).Check(t.Context(), rotator.Authority{Account: pam.Account{Name: login}})
		if err != nil || f.SelfRotation || f.LockoutThreshold == nil || *f.LockoutThreshold != 5 {
			t.Fatalf("%s: %+v, %v", login, f, err)
		}
		ids = append(ids, f.Identity)
	}
	if ids[0] != ids[1] || ids[0] != ids[2] || ids[0].Name != `SRV1\svc` || ids[0].Alias == ids[0].SID {
		t.Errorf("got %+v", ids)
	}
	if f, err := newWindows(l).Check(t.Context(), rotator.Authority{Account: pam.Account{Name: "boss"}}); err != nil || !f.SelfRotation {
		t.Errorf("the admin itself: %+v, %v", f, err)
	}
	if f, err := newWindows(l).Check(t.Context(), rotator.Authority{Account: pam.Account{Name: "shut"}}); err != nil || !f.Locked {
		t.Errorf("a locked account: %+v, %v", f, err)
	}
	l.NameAs(`AzureAD\anna`, model.Named{SID: "S-1-12-1-1-2-3-4", Account: `AzureAD\anna`})
	for login, want := range map[string]pam.Kind{
		`AzureAD\anna`: pam.ErrPolicy, // decided in the cloud: known before anything is set
		"off":          pam.ErrPolicy, "stale": pam.ErrPolicy, "gapp$": pam.ErrPolicy,
		`NT AUTHORITY\SYSTEM`: pam.ErrPolicy, "nobody": pam.ErrInvalidInput,
	} {
		if _, err := newWindows(l).Check(t.Context(), rotator.Authority{Account: pam.Account{Name: login}}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %s", login, err, want)
		}
	}
}

func TestLabWindowsSetAndVerify(t *testing.T) {
	t.Parallel()
	for _, login := range []string{"svc", `.\svc`, `SRV1\svc`} {
		l := newLabWindows()
		a := windowsAccount(t, l, login)
		w := newWindows(l)
		verdict := func(password string) pam.Verdict {
			v, err := w.Verify(t.Context(), a, pw(password))
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if verdict(windowsOld) != pam.VerdictRight || verdict(windowsNew) != pam.VerdictWrong {
			t.Errorf("%s: before the change", login)
		}
		for _, row := range []struct {
			name   string
			change rotator.Change
			want   pam.Outcome
			kind   error
		}{
			{"a wrong old password", rotator.Change{Next: pw(windowsNew), Current: pw("wr0ng-pw")}, pam.OutcomeRefused, pam.ErrDrift},
			{"a password too short", rotator.Change{Next: pw("short"), Current: pw(windowsOld)}, pam.OutcomeRefused, pam.ErrPolicy},
			{"no old password", rotator.Change{Next: pw(windowsNew)}, pam.OutcomeRefused, pam.ErrPolicy},
			{"the old password", rotator.Change{Next: pw(windowsNew), Current: pw(windowsOld)}, pam.OutcomeApplied, nil},
			{"a reset", rotator.Change{Next: pw(windowsNew + "2"), AllowReset: true}, pam.OutcomeApplied, nil},
		} {
			got, err := w.Set(t.Context(), a, row.change)
			if got != row.want || !errors.Is(err, row.kind) {
				t.Errorf("%s: %s: %q, %v", login, row.name, got, err)
			}
		}
		if verdict(windowsNew+"2") != pam.VerdictRight {
			t.Errorf("%s: after the changes", login)
		}
	}
}

func TestLabWindowsVerifyTellsWhatItCan(t *testing.T) {
	t.Parallel()
	l := newLabWindows()
	a := windowsAccount(t, l, "svc")
	l.Restrict(a.Account.SID, model.LogonNetwork, model.LogonTypeNotGranted)
	if v, err := newWindows(l).Verify(t.Context(), a, pw(windowsOld)); v != pam.VerdictRestricted || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
	l.Local().Configure("svc", func(u *model.User) { u.Locked = true })
	if v, err := newWindows(l).Verify(t.Context(), a, pw(windowsOld)); v != pam.VerdictCannotTell || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
}

func TestLabWindowsLostAnswerIsUnknown(t *testing.T) {
	t.Parallel()
	l := newLabWindows()
	a := windowsAccount(t, l, "svc")
	l.cut = func(e model.Event) bool { return e.Kind == model.PasswordSet }
	got, err := newWindows(l).Set(t.Context(), a, rotator.Change{Next: pw(windowsNew), Current: pw(windowsOld)})
	if got != pam.OutcomeUnknown || !errors.Is(err, pam.ErrIO) || strings.Contains(err.Error(), windowsNew) {
		t.Errorf("got %q, %v", got, err)
	}
	l.cut = nil
	if v, err := newWindows(l).Verify(t.Context(), a, pw(windowsNew)); v != pam.VerdictRight || err != nil {
		t.Errorf("the password was set: %q, %v", v, err)
	}
}

func TestLabWindowsDomainAccountIsItsControllersToChange(t *testing.T) {
	t.Parallel()
	domain := model.NewDomain("CORP", "corp.example.com", model.Policy{})
	domain.Add(model.User{Sam: "svc", Password: pw(windowsOld)})
	clock := model.NewStepClock(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC))
	member := &labWindows{Machine: model.NewMachine(model.MachineSpec{Name: "SRV1", Clock: clock, Domain: domain})}
	_, err := newWindows(member).Check(t.Context(), rotator.Authority{Account: pam.Account{Name: `CORP\svc`}})
	if !errors.Is(err, pam.ErrInvalidInput) || !strings.Contains(err.Error(), "no domain controller") {
		t.Errorf("on a member: %v", err)
	}
	dc := &labWindows{Machine: model.NewMachine(model.MachineSpec{Name: "DC01", Clock: clock, Domain: domain, DC: true})}
	for _, login := range []string{`CORP\svc`, "svc@corp.example.com", "svc"} {
		a := windowsAccount(t, dc, login)
		if a.Account.Identity != a.Account.SID {
			t.Errorf("%s: a domain account is named by its SID alone, not %s", login, a.Account.Identity)
		}
		if v, err := newWindows(dc).Verify(t.Context(), a, pw(windowsOld)); v != pam.VerdictRight || err != nil {
			t.Errorf("%s: verify %q, %v", login, v, err)
		}
	}
	a := windowsAccount(t, dc, "svc")
	if got, err := newWindows(dc).Set(t.Context(), a, rotator.Change{Next: pw(windowsNew), AllowReset: true}); got != pam.OutcomeApplied || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
