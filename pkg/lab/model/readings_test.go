package model_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/lab/model"
)

// one is a machine of a domain with one account, svc, whose password is new and
// was old.
func one(r model.Readings, p model.Policy) (*model.Machine, *model.Domain, *model.StepClock) {
	clock := model.NewStepClock(start)
	d := model.NewDomain("CORP", "corp.example.com", p)
	d.Add(model.User{Sam: "svc", Password: pw("old")})
	m := model.NewMachine(model.MachineSpec{Name: "M", Clock: clock, Domain: d, Readings: r})
	m.AddService(model.ServiceSpec{Name: "A", StartName: `CORP\svc`, Password: pw("old"), Delayed: true, LoadGroup: "G"}, model.Running)
	m.AddTask(model.TaskSpec{Path: `\T`, UserID: `corp\SVC`, Password: pw("old")})
	_ = d.Reset("svc", pw("new"))
	return m, d, clock
}

func TestDoubtsAreSwitches(t *testing.T) {
	t.Parallel()
	change := func(password string) func(m *model.Machine) string {
		return func(m *model.Machine) string {
			code, _ := m.ChangeService("A", `CORP\svc`, pw(password))
			return strconv.Itoa(code)
		}
	}
	logon := func(password string, logonType int) func(m *model.Machine) string {
		return func(m *model.Machine) string {
			code, _ := m.Logon("svc", "CORP", pw(password), logonType)
			return strconv.Itoa(int(code))
		}
	}
	register := func(m *model.Machine) string {
		tasks, _ := m.Tasks()
		_ = m.RegisterTask(model.Registration{
			Path: `\T`, XML: tasks[0].XML, User: `CORP\svc`, Password: pw("new"), LogonType: model.TaskLogonPassword, Flags: model.TaskUpdate,
		})
		return m.View().Task(`\T`).RunAs
	}
	group := model.Readings{DelayedGroupChanges: true}
	for _, r := range []struct {
		name     string
		readings model.Readings
		policy   model.Policy
		do       func(m *model.Machine) string
		want     string
		bad      int
	}{
		{"a delayed service of a group refuses", model.Readings{}, model.Policy{}, change("new"), "21", 0},
		{"or takes it", group, model.Policy{}, change("new"), "0", 0},
		{"a wrong password is stored unseen", group, model.Policy{}, change("wrong"), "0", 0},
		{"or tried, and counted", model.Readings{DelayedGroupChanges: true, ChangeValidates: true}, model.Policy{}, change("wrong"), "15", 1},
		{"and a right one is fine", model.Readings{DelayedGroupChanges: true, ChangeValidates: true}, model.Policy{}, change("new"), "0", 0},
		{"a task keeps the spelling", model.Readings{}, model.Policy{}, register, `corp\SVC`, 0},
		{"or takes the one it is registered with", model.Readings{TaskUserRewritten: true}, model.Policy{}, register, `CORP\svc`, 0},
		{"the old password counts", model.Readings{}, model.Policy{}, logon("old", 3), "1326", 1},
		{"or is refused for nothing", model.Readings{}, model.Policy{HistoryGrace: true}, logon("old", 3), "1326", 0},
		{"or logs on over the network", model.Readings{}, model.Policy{OldAccepted: true}, logon("old", 3), "0", 0},
		{"but not as a service", model.Readings{}, model.Policy{OldAccepted: true}, logon("old", 5), "1326", 1},
		{"a wrong one may count twice", model.Readings{}, model.Policy{CountTwice: true}, logon("wrong", 5), "1326", 2},
	} {
		m, d, _ := one(r.readings, r.policy)
		got := r.do(m)
		if u, _ := d.User("svc"); got != r.want || u.BadCount != r.bad {
			t.Errorf("%s: %s and %d bad attempts, want %s and %d", r.name, got, u.BadCount, r.want, r.bad)
		}
	}
}

func TestAKilledProcessTakesItsServicesAlong(t *testing.T) {
	t.Parallel()
	m, _, clock := one(model.Readings{}, model.Policy{})
	m.ConfigureService("A", func(s *model.ServiceSpec) { s.Password, s.Faults.RestartAfter = pw("new"), time.Second })
	pid := m.View().Service("A").PID
	if err := m.Kill(pid); err != nil || m.View().Service("A").State != model.Stopped {
		t.Fatal(err, m.View().Services)
	}
	if err := m.Kill(pid); err != model.InvalidParameter { //nolint:errorlint // an Errno is its own value
		t.Errorf("killed twice: %v", err)
	}
	clock.Advance(2 * time.Second)
	if s := m.View().Service("A"); s.State != model.Running || s.PID == pid {
		t.Errorf("its failure action did not start it again: %+v", s)
	}
}

func TestRightsAreGivenAndDenied(t *testing.T) {
	t.Parallel()
	m, d, _ := one(model.Readings{}, model.Policy{})
	u, _ := d.User("svc")
	m.Restrict(u.SID, model.LogonService, model.LogonTypeNotGranted)
	m.Restrict(u.SID, model.LogonBatch, model.LogonTypeNotGranted)
	m.Deny(u.SID, model.LogonBatch)
	for _, right := range []string{"SeServiceLogonRight", "SeBatchLogonRight"} {
		if code, err := m.GrantRight(u.SID, right); code != model.OK || err != nil {
			t.Fatal(code, err)
		}
	}
	if code, _ := m.GrantRight(u.SID, "SeFlyRight"); code != model.NoSuchPrivilege {
		t.Errorf("a right that there is not: %d", code)
	}
	for typ, want := range map[int]model.Errno{model.LogonService: model.OK, model.LogonBatch: model.LogonTypeNotGranted} {
		if code, _ := m.Logon("svc", "CORP", pw("new"), typ); code != want {
			t.Errorf("type %d: %d, want %d", typ, code, want)
		}
	}
}

func TestTimeAndMutexesOverTheProtocol(t *testing.T) {
	t.Parallel()
	m, _, clock := one(model.Readings{}, model.Policy{})
	ask := serve(t, m)
	if got := ask(`{"call":"sleep","ms":90000}`); got != "{}" || clock.Now() != start.Add(90*time.Second) {
		t.Errorf("%s at %s", got, clock.Now())
	}
	if got := ask(`{"call":"clock"}`); !strings.Contains(got, strconv.FormatInt(start.Add(90*time.Second).UnixMilli(), 10)) {
		t.Errorf("clock %s", got)
	}
	if got := ask(`{"call":"sleep","ms":-1}`); got != `{"error":87}` {
		t.Errorf("sleep backwards: %s", got)
	}
	other := serve(t, m)
	for _, r := range []struct {
		ask  func(string) string
		want string
	}{{ask, `{"ok":true}`}, {other, `{"ok":false}`}} {
		if got := r.ask(`{"call":"lock","name":"Keyturn-x"}`); got != r.want {
			t.Errorf("got %s, want %s", got, r.want)
		}
	}
}
