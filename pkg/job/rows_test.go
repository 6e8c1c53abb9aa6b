package job

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/executor"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A labScene is the practice domain behind the real executor, with the engine
// before it: only the transport is left out. The rows of the acceptance list that
// are about a fleet and its account are told here.
type labScene struct {
	*scene
	t       *testing.T
	fleet   *model.Fleet
	net     *labNet
	dialers map[pam.Transport]remote.Dialer
	log     *slog.Logger
	onSet   func() // called once the password has changed
	dies    string // the verb whose answer the engine does not live to see
	locks   sync.Mutex
}

// A labNet reaches machines by name.
type labNet struct {
	mu       sync.Mutex
	machines map[string]*model.Machine
	down     map[string]bool
	cut      map[string]model.EventKind // the connection breaks after such an event, once
	calls    []string
}

func (n *labNet) Dial(_ context.Context, t remote.Target) (remote.Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down[t.Host] {
		return nil, &remote.Error{Kind: pam.ErrUnreachable, Address: t.Address(), Op: "connect", Err: errors.New("refused")}
	}
	n.calls = append(n.calls, t.Host)
	return &labSession{net: n, host: t.Host, machine: n.machines[t.Host]}, nil
}

func (n *labNet) breaks(host string, e model.Event) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[host] != e.Kind {
		return false
	}
	delete(n.cut, host)
	return true
}

type labSession struct {
	net     *labNet
	host    string
	machine *model.Machine
}

func (*labSession) Close() error { return nil }

func (s *labSession) Run(ctx context.Context, sc remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	s.machine.Hook(func(e model.Event) {
		if s.net.breaks(s.host, e) {
			kill()
		}
	})
	var out bytes.Buffer
	code := script.Answer(ctx, s.machine, "", bytes.NewReader(in.Reveal()), &out)
	sc.OnOutput(out.Bytes())
	if code == script.ExitKilled {
		return remote.Result{}, &remote.Error{Kind: pam.ErrUnreachable, Address: s.host, Op: "receive", Err: errors.New("reset"), Sent: true}
	}
	return remote.Result{ExitCode: code}, nil
}

func newLabScene(t *testing.T, servers int) *labScene {
	t.Helper()
	clock := model.NewStepClock(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC))
	fleet, err := model.Practice(model.PracticeOptions{Servers: servers, Random: rand.Reader, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	l := &labScene{scene: newScene(0, false), t: t, fleet: fleet, net: &labNet{
		machines: map[string]*model.Machine{}, down: map[string]bool{}, cut: map[string]model.EventKind{},
	}}
	l.log = slog.New(slog.DiscardHandler)
	l.dialers = map[pam.Transport]remote.Dialer{pam.WinRM: l.net}
	l.store.account.Name = model.PracticeService
	l.store.admin = pam.Login{Record: uid("L"), Title: "LAB admin", User: model.PracticeAdmin, Password: fleet.Admin}
	l.store.gens[0].Password = fleet.Service
	l.store.machines = map[pam.UID]pam.Machine{}
	for n, m := range fleet.Machines() {
		record := pam.Machine{
			UID: uid(string(rune('a' + n))), Title: m.Name(), OperatingSystem: "windows", Transport: pam.WinRM, Host: m.Name(), Port: 5986,
		}
		l.store.machines[record.UID] = record
		l.net.machines[m.Name()] = m
		if m == fleet.DC {
			l.store.settings.Resource = record.UID
			continue
		}
		l.store.mappings = append(l.store.mappings, pam.Mapping{User: uid("U"), Machine: record.UID, Kinds: pam.MapAll})
	}
	l.fresh()
	return l
}

// fresh makes the next run a job of its own.
func (l *labScene) fresh() {
	l.newJob()
	l.store.job.AccountName = l.store.account.Name
}

func (l *labScene) Query(ctx context.Context, id pam.UID) (executor.Result, error) {
	return l.real().Query(ctx, id)
}

func (l *labScene) real() executor.Executor {
	return executor.NewEmbedded(executor.Options{
		Dialers: l.dialers, Random: rand.Reader, Now: time.Now,
		Logger: l.log,
	})
}

// Do kills the engine after the verb that it is to die of.
func (l *labScene) Do(ctx context.Context, op executor.Op, on func(executor.Event)) (executor.Result, error) {
	res, err := l.real().Do(ctx, op, on)
	if verb := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", op.Request), "executor.")); verb == l.dies {
		l.dies = ""
		panic(crash{})
	} else if verb == "set" && l.onSet != nil {
		l.onSet()
	}
	return res, err
}

func (l *labScene) engine() *Engine {
	return New(Config{
		Store: l.store, Executor: l, Random: rand.Reader, Log: l.log, Now: l.now,
		ReadFile: func(string) ([]byte, error) { return nil, errors.New("no files here") },
		Lock: func(context.Context, pam.UID) (func() error, error) {
			if !l.locks.TryLock() {
				return nil, pam.Errorf(pam.ErrConflict, "another job holds the account")
			}
			return func() error { l.locks.Unlock(); return nil }, nil
		},
		Limits: Limits{Retries: 2, Backoff: time.Nanosecond},
	})
}

// job runs the saved job; killed is whether its process died.
func (l *labScene) job() (j pam.Job, killed bool) {
	l.t.Helper()
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(crash); !ok {
				panic(p)
			}
			l.locks.TryLock() // a dead process holds no lock
			l.locks.Unlock()
			j, killed = l.store.job, true
		}
	}()
	j, err := l.engine().Run(l.t.Context(), l.store.job.ID)
	if err != nil {
		l.t.Fatal(err)
	}
	return j, false
}

// must runs the saved job and checks how it ends.
func (l *labScene) must(code int) pam.Job {
	l.t.Helper()
	j, killed := l.job()
	if killed || j.ExitCode() != code {
		l.t.Errorf("exit code %d, want %d: %s %s: %s", j.ExitCode(), code, j.State, j.Failure, j.Message)
	}
	return j
}

// inForce is the vault's current password, if it is the account's.
func (l *labScene) inForce() string {
	l.t.Helper()
	g, err := l.store.Generation(l.t.Context(), "", pam.Current)
	if err != nil || !l.fleet.Domain.Matches("svc_app", g.Password) {
		l.t.Errorf("the vault's current password is not the one in force: %v", err)
	}
	return string(g.Password.Reveal())
}

// failed counts refused log-ons as the account, everywhere.
func (l *labScene) failed() int {
	n := 0
	for _, m := range l.fleet.Machines() {
		for _, e := range m.Events() {
			if e.Kind == model.LogonFailed && strings.Contains(strings.ToLower(e.Name), "svc_app") {
				n++
			}
		}
	}
	return n
}

// stops counts services that were stopped.
func (l *labScene) stops() int {
	n := 0
	for _, m := range l.fleet.Servers {
		for _, e := range m.Events() {
			if e.Kind == model.ServiceStopped {
				n++
			}
		}
	}
	return n
}

// good reports whether everything on a server stores the password in force, and
// its running service runs with it.
func good(m *model.Machine) bool {
	v := m.View()
	return v.Service("OrdersApi").CredentialOK && v.Service("OrdersImport").CredentialOK && v.Service("OrdersApi").Restarts > 0 &&
		v.Service("OrdersApi").State == model.Running && v.Service("OrdersImport").State == model.Stopped
}

func (l *labScene) allGood(but ...string) {
	l.t.Helper()
	for _, m := range l.fleet.Servers {
		if want := !slices.Contains(but, m.Name()); good(m) != want {
			l.t.Errorf("%s has the new password in force: %v, want %v", m.Name(), !want, want)
		}
	}
}

// A row is a row of the acceptance list; failed is the most log-ons as the
// account that may be refused.
type row struct {
	name    string
	servers int
	failed  int
	tell    func(l *labScene)
}

func tellRows(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			l := newLabScene(t, r.servers)
			before := l.failed()
			r.tell(l)
			if n := l.failed() - before; n > r.failed {
				t.Errorf("%d log-ons as the account failed, at most %d may", n, r.failed)
			}
			if v, _ := l.fleet.Domain.User("svc_app"); v.Locked && !strings.HasPrefix(r.name, "A06") {
				t.Error("the account is locked out")
			}
		})
	}
}

func TestRowsOfTheFleet(t *testing.T) {
	t.Parallel()
	tellRows(t, []row{
		{"F01 one of twelve does not answer: the job ends before the reset", 12, 0, func(l *labScene) {
			l.net.down["SRV7"] = true
			j := l.must(5)
			if v, _ := l.fleet.Domain.User("svc_app"); v.Changes != 0 || l.stops() != 0 || !strings.Contains(j.Message, "SRV7") {
				l.t.Errorf("%d changes, %d stops: %s", v.Changes, l.stops(), j.Message)
			}
		}},
		{"F02 the same, skipped: eleven are done, and the next rotation brings the twelfth to the newest password", 12, 0, func(l *labScene) {
			l.net.down["SRV7"] = true
			l.store.job.Options.SkipUnreachable = true
			l.must(6)
			l.allGood("SRV7")
			l.inForce()
			delete(l.net.down, "SRV7")
			l.fresh()
			l.must(0)
			l.allGood()
		}},
		{"F03 one machine's replica lags: it waits, and the others are done", 4, 1, func(l *labScene) {
			l.fleet.Servers[2].Lag()
			j := l.must(6)
			l.allGood("SRV3")
			if n := len(l.fleet.Servers[2].Events()); l.stopsOn("SRV3") != 0 || !strings.Contains(j.Message, "SRV3") {
				l.t.Errorf("%d events on SRV3: %s", n, j.Message)
			}
			l.fleet.Servers[2].CatchUp()
			l.must(0) // resume
			l.allGood()
		}},
		// Ten wrong passwords lock: eight may be under way.
		{"F04 machines refuse the password: it is tried no more than the account bears, and nothing is restarted anywhere", 30, 8, func(l *labScene) {
			for _, m := range l.fleet.Servers[:20] {
				m.Lag()
			}
			l.must(6)
			if l.stops() != 0 {
				l.t.Errorf("%d services were stopped", l.stops())
			}
			for _, m := range l.fleet.Servers[:20] {
				m.CatchUp()
			}
			password := l.inForce()
			l.must(0)
			l.allGood()
			if l.inForce() != password {
				l.t.Error("the retry made another password")
			}
		}},
		{"F05 a second run of the same account is refused", 2, 0, func(l *labScene) {
			l.locks.Lock()
			if _, err := l.engine().Run(l.t.Context(), l.store.job.ID); !errors.Is(err, pam.ErrConflict) {
				l.t.Errorf("got %v", err)
			}
			l.locks.Unlock()
			if v, _ := l.fleet.Domain.User("svc_app"); v.Changes != 0 || l.store.job.State != pam.JobQueued {
				l.t.Errorf("%+v, %s", v, l.store.job.State)
			}
		}},
		{"cut between services and tasks: the services are proven again with the tasks, and restarted", 1, 0, func(l *labScene) {
			l.net.cut["SRV1"] = model.TaskRegistered
			l.store.settings.Policy = pam.Policy{Restart: pam.RestartWindow, Window: "22:00-04:00 UTC"} // it is 9:00
			j := l.must(6)
			if got := told(j, "OrdersApi"); !strings.Contains(got, "deferred") || l.stops() != 0 {
				l.t.Fatalf("the service was not updated and left: %s", got)
			}
			l.store.settings.Policy = pam.Policy{}
			l.must(0)
			l.allGood()
		}},
		{"F06 a crash after the reset, before the vault knows: the pending password is the one, and no other is made", 2, 0, func(l *labScene) {
			l.dies = "set"
			if _, killed := l.job(); !killed {
				l.t.Fatal("it lived")
			}
			pending, err := l.store.Generation(l.t.Context(), "", pam.Pending)
			if err != nil || !l.fleet.Domain.Matches("svc_app", pending.Password) {
				l.t.Fatalf("the vault does not hold the password in force: %v", err)
			}
			l.must(0)
			l.allGood()
			if v, _ := l.fleet.Domain.User("svc_app"); v.Changes != 1 || len(l.store.gens) != 2 || l.inForce() != string(pending.Password.Reveal()) {
				l.t.Errorf("%d changes, %d generations", v.Changes, len(l.store.gens))
			}
		}},
		{"F07 three retries use the same password", 3, 4, func(l *labScene) {
			l.fleet.Servers[0].Lag()
			l.must(6)
			password := l.inForce()
			for range 3 {
				l.store.job.Errand, l.store.job.State = pam.ErrandRetry, pam.JobQueued
				l.must(6)
			}
			if v, _ := l.fleet.Domain.User("svc_app"); v.Changes != 1 || l.inForce() != password || len(l.store.gens) != 2 {
				l.t.Errorf("%d changes, %d generations", v.Changes, len(l.store.gens))
			}
		}},
		{"F03 and a lost answer of the reset cost one failed log-on", 2, 1, func(l *labScene) {
			l.net.cut["DC01"] = model.PasswordSet
			l.must(0)
			l.allGood()
		}},
	})
}

// stopsOn counts services stopped on one machine.
func (l *labScene) stopsOn(machine string) int {
	n := 0
	for _, e := range l.net.machines[machine].Events() {
		if e.Kind == model.ServiceStopped {
			n++
		}
	}
	return n
}

// local makes the account a local one of SRV1, whose password the vault knows.
func (l *labScene) local() *model.SAM {
	l.t.Helper()
	own := secret.New([]byte("0ld-Local-pw"))
	sam := l.fleet.Servers[0].Local()
	sam.Add(model.User{Sam: "svc_local", Password: own})
	l.store.account = pam.Account{UID: uid("A"), Authority: pam.AuthorityWindows, Name: `.\svc_local`}
	l.store.gens[0].Password = own
	l.store.mappings = l.store.mappings[:1]
	l.store.settings.Resource = l.store.mappings[0].Machine
	l.fresh()
	return sam
}

// untouched checks that a refusal came before anything was changed.
func (l *labScene) untouched(j pam.Job, why string) {
	l.t.Helper()
	if v, _ := l.fleet.Domain.User("svc_app"); v.Changes != 0 || l.stops() != 0 {
		l.t.Errorf("%d changes, %d stops", v.Changes, l.stops())
	}
	if !strings.Contains(j.Message, why) || !strings.Contains(j.Message, "nothing changed") {
		l.t.Errorf("%s", j.Message)
	}
}

func TestRowsOfTheAccount(t *testing.T) {
	t.Parallel()
	tellRows(t, []row{
		{"A05 an account that must change its password is refused", 1, 0, func(l *labScene) {
			l.fleet.Domain.Configure("svc_app", func(u *model.User) { u.MustChange = true })
			l.untouched(l.must(1), "must change its password")
		}},
		{"A06 an account that is locked out is refused", 1, 0, func(l *labScene) {
			l.fleet.Domain.Configure("svc_app", func(u *model.User) { u.Locked = true })
			j := l.must(1)
			l.untouched(j, "is locked out")
			if !strings.Contains(j.Hint, "--unlock") || l.store.unlocks != 0 {
				l.t.Errorf("hint %q, unlocked %d times", j.Hint, l.store.unlocks)
			}
		}},
		{"A07 a threshold of three and one wrong password: a warning, and one refusal is the last", 6, 1 + 1, func(l *labScene) {
			l.fleet.Domain.SetPolicy(model.Policy{LockoutThreshold: 3, MinLength: 8})
			if _, err := l.fleet.DC.Logon("svc_app", "LAB", secret.New([]byte("wrong")), model.LogonNetwork); err != nil {
				l.t.Fatal(err)
			}
			before := l.failed()
			plan, err := l.engine().Plan(l.t.Context(), uid("U"), pam.JobOptions{})
			if err != nil || !slices.ContainsFunc(plan.Warnings, func(w string) bool { return strings.Contains(w, "locks after 3 wrong passwords and 1") }) {
				l.t.Errorf("warnings %q, %v", plan.Warnings, err)
			}
			for _, m := range l.fleet.Servers {
				m.Lag()
			}
			l.must(6)
			if n := l.failed() - before; n != 1 || l.stops() != 0 {
				l.t.Errorf("%d refusals, %d stops", n, l.stops())
			}
		}},
		{"A09 a local account whose password is known is changed, not reset", 1, 0, func(l *labScene) {
			sam := l.local()
			l.must(0)
			g, err := l.store.Generation(l.t.Context(), "", pam.Current)
			if err != nil || !sam.Matches("svc_local", g.Password) {
				l.t.Errorf("not in force: %v", err)
			}
			// A reset would not ask for the old password: a wrong one is refused.
			l.store.gens[len(l.store.gens)-1].Password = secret.New([]byte("n0t-the-password"))
			l.fresh()
			l.store.job.Options.AllowReset = true
			if j := l.must(7); !sam.Matches("svc_local", g.Password) {
				l.t.Errorf("it was reset: %s", j.Message)
			}
		}},
		{"A10 a local account whose password is not known is reset only when told to", 1, 0, func(l *labScene) {
			sam := l.local()
			l.store.gens = nil
			if _, err := l.engine().Plan(l.t.Context(), uid("U"), l.store.job.Options); !errors.Is(err, pam.ErrPolicy) {
				l.t.Errorf("the plan: %v", err)
			}
			if j := l.must(1); !strings.Contains(j.Message, "nothing changed") {
				l.t.Errorf("%s", j.Message)
			}
			if v, _ := sam.User("svc_local"); v.Changes != 0 {
				l.t.Errorf("%d changes", v.Changes)
			}
			l.fresh()
			l.store.job.Options.AllowReset = true
			l.must(0)
			g, err := l.store.Generation(l.t.Context(), "", pam.Current)
			if err != nil || !sam.Matches("svc_local", g.Password) {
				l.t.Errorf("not in force: %v", err)
			}
		}},
		{"A11 the account that logs in to the machines is refused, however its name is written", 1, 0, func(l *labScene) {
			for _, login := range []string{`LAB\admin`, `admin@lab.example`, `lab.example\ADMIN`} {
				l.store.account = pam.Account{UID: uid("A"), Authority: pam.AuthorityWindows, Name: login}
				l.fresh()
				l.untouched(l.must(1), "works with")
			}
		}},
	})
}
