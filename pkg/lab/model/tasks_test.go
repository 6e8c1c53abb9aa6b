package model_test

import (
	"errors"
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
)

func find(t *testing.T, m *model.Machine, path string) model.Task {
	t.Helper()
	all, err := m.Tasks()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		if x.Path == path {
			return x
		}
	}
	t.Fatalf("no task %s", path)
	return model.Task{}
}

const nightly = `\Orders\Nightly export`

func TestRegisterTask(t *testing.T) {
	t.Parallel()
	const quiet = model.TaskUpdate | model.TaskDontAddPrincipalACE | model.TaskIgnoreRegistrationTriggers
	rows := []struct {
		name     string
		path     string
		bend     func(m *model.Machine)
		user     string
		password string
		flags    int
		want     model.HResult
		bad      int
	}{
		{"the right password is stored", nightly, nil, `LAB\svc_app`, "N3w-Passw0rd-1", quiet, 0, 0},
		{"a wrong password is refused and counts", nightly, nil, `LAB\svc_app`, "wrong", quiet, model.LogonFailureHR, 1},
		{"a dot is no machine here", nightly, nil, `.\svc_app`, "N3w-Passw0rd-1", quiet, model.NoneMappedHR, 0},
		{"an unknown account", nightly, nil, `OLD\svc_app`, "N3w-Passw0rd-1", quiet, model.NoneMappedHR, 0},
		{"an update needs the task", `\nothing`, nil, `LAB\svc_app`, "N3w-Passw0rd-1", quiet, model.NotFoundHR, 0},
		{"storage forbidden by policy", nightly, (*model.Machine).DisableStorage, `LAB\svc_app`, "N3w-Passw0rd-1", quiet, model.NoStoredPasswordHR, 0},
		{"the task service is down", nightly, (*model.Machine).StopTaskService, `LAB\svc_app`, "N3w-Passw0rd-1", quiet, model.TaskServiceMissingHR, 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			f, _ := fleet(t, 1)
			m := f.Servers[0]
			reset(t, f)
			before := find(t, m, nightly)
			if r.bend != nil {
				r.bend(m)
			}
			err := m.RegisterTask(model.Registration{
				Path: r.path, XML: before.XML, Flags: r.flags, User: r.user, Password: pw(r.password), LogonType: model.TaskLogonPassword,
			})
			var hr model.HResult
			if errors.As(err, &hr); hr != r.want || (err == nil) != (r.want == 0) {
				t.Fatalf("%v, want %v", err, r.want)
			}
			if u, _ := f.Domain.User("svc_app"); u.BadCount != r.bad {
				t.Fatalf("bad password count %d, want %d", u.BadCount, r.bad)
			}
			if got := m.View().Task(nightly).CredentialOK; got != (r.want == 0) {
				t.Fatalf("credential ok: %t", got)
			}
			if r.want == 0 && find(t, m, nightly).XML != before.XML {
				t.Fatal("the XML changed")
			}
		})
	}
}

func TestRegistrationTriggerStartsUnlessIgnored(t *testing.T) {
	t.Parallel()
	for _, flags := range []int{model.TaskUpdate, model.TaskUpdate | model.TaskIgnoreRegistrationTriggers} {
		f, _ := fleet(t, 1)
		m := f.Servers[0]
		m.AddTask(model.TaskSpec{Path: `\R`, UserID: `LAB\svc_app`, Password: f.Service, Registration: true})
		err := m.RegisterTask(model.Registration{
			Path: `\R`, XML: find(t, m, `\R`).XML, Flags: flags, User: `LAB\svc_app`, Password: f.Service, LogonType: model.TaskLogonPassword,
		})
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		if flags&model.TaskIgnoreRegistrationTriggers != 0 {
			want = 0
		}
		if got := m.View().Task(`\R`).Runs; got != want {
			t.Errorf("flags %#x: %d runs, want %d", flags, got, want)
		}
	}
}

func TestRegisteringForSomebodyElseChangesThePrincipalOnly(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	m.AddTask(model.TaskSpec{Path: `\S`, UserID: `LAB\svc_reports`, LogonType: "S4U"})
	before := find(t, m, `\S`).XML
	err := m.RegisterTask(model.Registration{
		Path: `\S`, XML: before, Flags: model.TaskUpdate, User: `LAB\svc_app`, Password: f.Service, LogonType: model.TaskLogonInteractiveOrPassword,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(`LAB\svc_reports`, `LAB\svc_app`, "S4U", "InteractiveTokenOrPassword").Replace(before)
	if got := find(t, m, `\S`).XML; got != want {
		t.Fatalf("got %s", got)
	}
}

func TestTaskPrincipal(t *testing.T) {
	t.Parallel()
	const head = `<Task xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task"><Principals>`
	rows := []struct{ name, xml, user, logon string }{
		{"the context decides among principals", head + `<Principal id="a"><UserId>x</UserId></Principal><Principal id="b"><UserId>y</UserId>` +
			`<LogonType>Password</LogonType></Principal></Principals><Actions Context="b"/></Task>`, "y", "Password"},
		{"without a logon type it is interactive", head + `<Principal><UserId>x</UserId></Principal></Principals></Task>`, "x", "InteractiveToken"},
		{"a trigger's user is not the principal", `<Task xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task"><Triggers><LogonTrigger>` +
			`<UserId>z</UserId></LogonTrigger></Triggers><Principals><Principal><UserId>x</UserId></Principal></Principals></Task>`, "x", "InteractiveToken"},
	}
	for _, r := range rows {
		p, err := model.TaskPrincipal(r.xml)
		if err != nil || p.UserID != r.user || p.LogonType != r.logon {
			t.Errorf("%s: %+v, %v", r.name, p, err)
		}
	}
	if _, err := model.TaskPrincipal("<Task>"); err == nil {
		t.Error("half a document was read")
	}
}

func FuzzTaskPrincipal(f *testing.F) {
	f.Add(model.TaskXML(model.TaskSpec{Path: `\a`, UserID: `LAB\x`, LogonType: "Password"}))
	f.Add("<Task/>")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = model.TaskPrincipal(s) })
}

func TestPools(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	reset(t, f)
	commit := func(name, password string) error {
		return m.CommitIIS([]model.IISChange{{Name: name, Password: pw(password)}})
	}
	before := m.View().Pool("Orders").Workers
	if err := commit("Orders", "N3w-Passw0rd-1"); err != nil {
		t.Fatal(err)
	}
	if v := m.View().Pool("Orders"); v.State != "Started" || v.Recycles != 1 || v.Workers[0] == before[0] || !v.CredentialOK {
		t.Fatalf("a commit recycles a started pool: %+v", v)
	}
	if err := commit("Orders", "N3w-Passw0rd-1"); err != nil || m.View().Pool("Orders").Recycles != 1 {
		t.Fatal("committing the same again does not recycle", err)
	}
	if err := commit("Orders Old", "N3w-Passw0rd-1"); err != nil || m.View().Pool("Orders Old").State != "Stopped" {
		t.Fatal("a stopped pool stays stopped", err)
	}
	if err := m.RecyclePool("Orders Old"); !errors.Is(err, model.NotActiveHR) {
		t.Fatal(err)
	}
	if err := commit("Orders", "wrong"); err != nil || m.View().Pool("Orders").State != "Stopped" {
		t.Fatal("a worker that cannot log on stops the pool", err)
	}
	m.FailCommits(model.KeysetMissingHR)
	if err := commit("Orders", "x"); !errors.Is(err, model.KeysetMissingHR) {
		t.Fatal(err)
	}
}
