package model_test

import (
	"testing"

	"keyturn/pkg/lab/model"
)

func TestLogonCodes(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name     string
		bend     func(f *model.Fleet, m *model.Machine)
		password string
		typ      int
		want     model.Errno
	}{
		{"the right password logs on", nil, "", model.LogonService, model.OK},
		{"a wrong one does not", nil, "wrong", model.LogonNetwork, model.LogonFailure},
		{"a disabled account does not", func(f *model.Fleet, _ *model.Machine) {
			f.Domain.Configure("svc_app", func(u *model.User) { u.Disabled = true })
		}, "", model.LogonNetwork, model.AccountDisabled},
		{"a locked account does not", func(f *model.Fleet, _ *model.Machine) {
			f.Domain.Configure("svc_app", func(u *model.User) { u.Locked = true })
		}, "", model.LogonNetwork, model.AccountLocked},
		{"who must change the password does not", func(f *model.Fleet, _ *model.Machine) {
			f.Domain.Configure("svc_app", func(u *model.User) { u.MustChange = true })
		}, "", model.LogonNetwork, model.MustChangePassword},
		{"an expired password does not", func(f *model.Fleet, _ *model.Machine) {
			f.Domain.Configure("svc_app", func(u *model.User) { u.Stale = true })
		}, "", model.LogonNetwork, model.PasswordExpired},
		{"a missing right is told only for its type", func(f *model.Fleet, m *model.Machine) {
			u, _ := f.Domain.User("svc_app")
			m.Restrict(u.SID, model.LogonBatch, model.LogonTypeNotGranted)
		}, "", model.LogonBatch, model.LogonTypeNotGranted},
		{
			"without a domain controller nobody can tell", func(_ *model.Fleet, m *model.Machine) { m.LoseDomain() },
			"", model.LogonNetwork, model.NoLogonServers,
		},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			f, _ := fleet(t, 1)
			m := f.Servers[0]
			if r.bend != nil {
				r.bend(f, m)
			}
			password := f.Service
			if r.password != "" {
				password = pw(r.password)
			}
			for _, who := range [][2]string{{"svc_app", "LAB"}, {"SVC_APP", "lab.example"}, {"svc_app@lab.example", ""}} {
				if code, err := m.Logon(who[0], who[1], password, r.typ); code != r.want || err != nil {
					t.Errorf("%v: code %d, %v; want %d", who, code, err, r.want)
				}
			}
		})
	}
}

func TestLockout(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	f.Domain.SetPolicy(model.Policy{LockoutThreshold: 3, HistoryGrace: true})
	old := f.Service.Clone()
	reset(t, f)
	for range 5 {
		if code, _ := m.Logon("svc_app", "LAB", old, model.LogonNetwork); code != model.LogonFailure {
			t.Fatalf("the password before: code %d", code)
		}
	}
	if u, _ := f.Domain.User("svc_app"); u.BadCount != 0 || u.Locked {
		t.Fatalf("the last two passwords do not count: %+v", u)
	}
	for range 3 {
		_, _ = m.Logon("svc_app", "LAB", pw("guess"), model.LogonNetwork)
	}
	if code, _ := m.Logon("svc_app", "LAB", pw("N3w-Passw0rd-1"), model.LogonNetwork); code != model.AccountLocked {
		t.Fatalf("after three guesses: code %d", code)
	}
}

func TestLaggingMachineBelievesTheOldPassword(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 2)
	old := f.Service.Clone()
	f.Servers[0].Lag()
	reset(t, f)
	if code, _ := f.Servers[0].Logon("svc_app", "LAB", old, model.LogonNetwork); code != model.OK {
		t.Fatalf("old on the lagging machine: %d", code)
	}
	if code, _ := f.Servers[0].Logon("svc_app", "LAB", pw("N3w-Passw0rd-1"), model.LogonNetwork); code != model.LogonFailure {
		t.Fatalf("new on the lagging machine: %d", code)
	}
	f.Servers[0].CatchUp()
	for _, m := range f.Servers {
		if code, _ := m.Logon("svc_app", "LAB", pw("N3w-Passw0rd-1"), model.LogonNetwork); code != model.OK {
			t.Fatalf("new on %s: %d", m.Name(), code)
		}
	}
}

func TestChangeAndReset(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	old := f.Service.Clone()
	rows := []struct {
		name string
		do   func() (model.Errno, error)
		want model.Errno
	}{
		{"a wrong old password", func() (model.Errno, error) { return f.DC.ChangePassword("svc_app", pw("x"), pw("Abcdefgh-1234")) }, model.WrongOldPassword},
		{"too short", func() (model.Errno, error) { return f.DC.ChangePassword("svc_app", old, pw("short")) }, model.PasswordPolicy},
		{"nobody", func() (model.Errno, error) { return f.DC.ResetPassword("nobody", pw("Abcdefgh-1234")) }, model.NoSuchUser},
		{"a change", func() (model.Errno, error) { return f.DC.ChangePassword("SVC_APP", old, pw("Abcdefgh-1234")) }, model.OK},
		{"history binds a change", func() (model.Errno, error) { return f.DC.ChangePassword("svc_app", pw("Abcdefgh-1234"), old) }, model.PasswordPolicy},
		{"history does not bind a reset", func() (model.Errno, error) { return f.DC.ResetPassword("svc_app", old) }, model.OK},
		{"a member knows only its own", func() (model.Errno, error) { return f.Servers[0].ResetPassword("svc_reports", old) }, model.NoSuchUser},
	}
	for _, r := range rows {
		if code, err := r.do(); code != r.want || err != nil {
			t.Errorf("%s: code %d, %v; want %d", r.name, code, err, r.want)
		}
	}
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	app, _ := f.Domain.User("svc_app")
	twin, _ := m.Local().User("svc_app")
	rows := []struct {
		on         *model.Machine
		name, want string // want: a SID, a prefix of one ending in *, or "" for none
	}{
		{m, `LAB\svc_app`, app.SID},
		{m, `lab\SVC_App`, app.SID},
		{m, `lab.example\svc_app`, app.SID},
		{m, `svc_app@lab.example`, app.SID},
		{m, `.\svc_app`, twin.SID},
		{m, `SRV1\svc_app`, twin.SID},
		{m, `svc_app`, twin.SID}, // local comes first
		{m, `svc_reports`, "S-1-5-21-*"},
		{f.DC, `.\svc_app`, app.SID},
		{f.DC, `DC01\svc_app`, app.SID},
		{m, `NT AUTHORITY\SYSTEM`, "S-1-5-18"},
		{m, `NT-AUTORITÄT\NETZWERKDIENST`, "S-1-5-20"},
		{m, `SYSTEM`, "S-1-5-18"},
		{m, `LocalSystem`, ""},
		{m, `NT SERVICE\Telemetry`, "S-1-5-80-*"},
		{m, `NT SERVICE\absent`, ""},
		{m, `IIS APPPOOL\DefaultAppPool`, "S-1-5-82-*"},
		{m, `LAB\gapp$`, "S-1-5-21-*"},
		{m, `OLD\svc_app`, ""},
		{m, `svc_app@other.example`, ""},
		{m, ``, ""},
	}
	for _, r := range rows {
		n, err := r.on.Translate(r.name)
		prefix, open := cutStar(r.want)
		switch {
		case r.want == "" && err == nil:
			t.Errorf("%q translates to %s", r.name, n.SID)
		case r.want != "" && err != nil:
			t.Errorf("%q: %v", r.name, err)
		case open && len(n.SID) > len(prefix) && n.SID[:len(prefix)] == prefix:
		case n.SID != r.want && !open:
			t.Errorf("%q is %s, want %s", r.name, n.SID, r.want)
		}
	}
}

func cutStar(s string) (string, bool) {
	if s != "" && s[len(s)-1] == '*' {
		return s[:len(s)-1], true
	}
	return s, false
}
