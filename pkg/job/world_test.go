package job

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
	"keyturn/pkg/secret"
)

// A fault is what the world does to one op, by verb.
type fault int

const (
	faultNone       fault = iota
	faultLostBefore       // the connection breaks after sending, and the target did nothing
	faultLostAfter        // the target did everything, and the answer is lost
	faultRefuse
	faultDown
	faultMidway // restart: the target dies between the stops and the starts
	faultFirst  // restart: the target dies after the first stop
)

// A service of the world.
type service struct {
	name, state, mode string
	password          string // stored
	running           string // what the process started with
	pid               int
	starts, stops     int
	dependents        []string
	target            bool
	broken            bool // it does not come up
}

// A host of the world.
type host struct {
	down     bool
	lag      bool // its domain controller does not know the new password yet
	services []*service
	looks    int
	task     bool // a scheduled task stores the password, too
	granted  bool // an update asked for the rights to log on
}

// world is an authority and machines, behind an Executor.
type world struct {
	crash *crasher

	mu       sync.Mutex
	sent     map[string][]string // the secrets of each op, by verb
	sid      string              // of the account
	password string
	history  []string // every password the authority ever received
	exact    bool     // the authority has evidence
	failed   int      // log-ons as the account that were refused
	adminBad bool
	adminTry int
	hosts    map[pam.UID]*host
	faults   map[string]fault // verb -> once
	busy     int              // so many ops on machines find another run there
	nextPID  int
	onSet    func(pw string)
	verdict  pam.Verdict
	grace    bool // the password before the last one still logs on
}

func (w *world) Query(context.Context, pam.UID) (executor.Result, error) {
	return executor.Result{State: executor.OpNeverSeen}, nil
}

func (w *world) take(verb string) fault {
	f := w.faults[verb]
	delete(w.faults, verb)
	return f
}

func lost(sent bool) error {
	return &remote.Error{Kind: pam.ErrUnreachable, Address: "h", Op: "receive", Err: errors.New("connection reset"), Sent: sent}
}

func (w *world) Do(_ context.Context, op executor.Op, on func(executor.Event)) (executor.Result, error) {
	w.crash.event()
	res, err := w.do(op, on)
	w.crash.event()
	return res, err
}

func (w *world) do(op executor.Op, on func(executor.Event)) (executor.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.adminBad {
		w.adminTry++
		return executor.Result{}, &remote.Error{Kind: pam.ErrAuthFailed, Address: "h", Op: "log in", Err: errors.New("401")}
	}
	w.note(op)
	ok := executor.Result{State: executor.OpDone, LoggedIn: true}
	switch q := op.Request.(type) {
	case executor.Check:
		if w.take("check") == faultDown {
			return executor.Result{}, lost(false)
		}
		ok.Findings = rotator.Findings{Identity: pam.Identity{Alias: w.sid, SID: w.sid, Name: `LAB\svc`}}
		return ok, nil
	case executor.ReadEvidence:
		if w.take("evidence") == faultDown {
			return executor.Result{}, lost(false)
		}
		ok.Evidence = w.evidence()
		return ok, nil
	case executor.Set:
		return w.set(ok, q, op.Secrets)
	case executor.Verify:
		return w.verify(ok, string(op.Secrets[q.Password].Reveal()))
	}
	return w.onHost(ok, op, on)
}

// note remembers which secrets an op carried.
func (w *world) note(op executor.Op) {
	if w.sent == nil {
		return
	}
	verb := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", op.Request), "executor."))
	w.sent[verb] = nil
	for _, s := range op.Secrets {
		w.sent[verb] = append(w.sent[verb], string(s.Reveal()))
	}
}

func (w *world) evidence() pam.Evidence {
	if !w.exact {
		return pam.Evidence{}
	}
	return pam.Evidence{Mark: fmt.Sprint(len(w.history)), Exact: true}
}

func (w *world) set(ok executor.Result, q executor.Set, secrets []secret.Value) (executor.Result, error) {
	next := string(secrets[q.Next].Reveal())
	if w.onSet != nil {
		w.onSet(next)
	}
	f := w.take("set")
	ok.Outcome = pam.OutcomeApplied
	switch f {
	case faultRefuse:
		ok.Outcome = pam.OutcomeRefused
		return ok, pam.Errorf(pam.ErrPolicy, "the password policy refused it")
	case faultLostBefore:
		ok.Outcome = pam.OutcomeUnknown
		return ok, lost(true)
	case faultNone, faultLostAfter, faultDown, faultMidway, faultFirst:
	}
	// A change, not a reset: the old password must be right.
	if q.Current >= 0 && !q.Again && string(secrets[q.Current].Reveal()) != w.password {
		w.failed++
		ok.Outcome = pam.OutcomeRefused
		return ok, pam.Errorf(pam.ErrDrift, "the old password is wrong")
	}
	w.password = next
	w.history = append(w.history, next)
	if f == faultLostAfter {
		ok.Outcome = pam.OutcomeUnknown
		return ok, lost(true)
	}
	return ok, nil
}

func (w *world) verify(ok executor.Result, pw string) (executor.Result, error) {
	ok.Verdict = pam.VerdictRight
	switch {
	case w.verdict != "":
		ok.Verdict = w.verdict
	case w.grace && len(w.history) > 1 && pw == w.history[len(w.history)-2]:
	case pw != w.password:
		w.failed++
		ok.Verdict = pam.VerdictWrong
	}
	return ok, nil
}

func (w *world) onHost(ok executor.Result, op executor.Op, on func(executor.Event)) (executor.Result, error) {
	at := func(m executor.Machine) *host { return w.hosts[m.UID] }
	if _, look := op.Request.(executor.Look); !look && w.busy > 0 {
		w.busy--
		return executor.Result{LoggedIn: true}, pam.Errorf(pam.ErrConflict, "locked_by_other_run")
	}
	switch q := op.Request.(type) {
	case executor.Look:
		h := at(q.Machine)
		h.looks++
		if h.down {
			return executor.Result{}, lost(false)
		}
		ok.Inventory = h.inventory(q.Machine.UID)
		return ok, nil
	case executor.Update:
		if h := at(q.Machine); !h.down {
			return w.update(ok, h, q, string(op.Secrets[q.Next].Reveal()))
		}
	case executor.Restart:
		if h := at(q.Machine); !h.down {
			return ok, w.restart(h, q.Plan, on)
		}
	case executor.Repair:
		if h := at(q.Machine); !h.down {
			for _, s := range q.Plan.Starts {
				w.start(h, s, pam.PhaseRepair, on)
			}
			return ok, nil
		}
	}
	return executor.Result{}, lost(false)
}

func (h *host) inventory(uid pam.UID) dependency.Inventory {
	inv := dependency.Inventory{MachineID: "id-" + string(uid)}
	for _, s := range h.services {
		i := dependency.Item{
			Kind: pam.KindService, Name: s.name, RunAs: `LAB\svc`, Target: s.target, State: s.state, StartMode: s.mode,
			PID: s.pid, CanStop: s.state == "Running", Own: true, Dependents: s.dependents,
		}
		if s.pid != 0 {
			i.Started = time.Unix(int64(s.pid), 0).UTC()
		}
		inv.Items = append(inv.Items, i)
	}
	if h.task {
		inv.Items = append(inv.Items, dependency.Item{Kind: pam.KindTask, Name: `\T`, RunAs: `LAB\svc`, Target: true, State: "Ready"})
	}
	return inv
}

func (w *world) update(ok executor.Result, h *host, q executor.Update, next string) (executor.Result, error) {
	h.granted = q.Update.GrantRights
	f := w.take("update")
	if f == faultLostBefore {
		return ok, lost(true)
	}
	if h.lag || next != w.password {
		w.failed++
		ok.Update = dependency.Update{Rejected: true, Proofs: []dependency.Proof{{Type: 5, Code: 1326}}}
		for _, i := range q.Update.Items {
			ok.Update.Results = append(ok.Update.Results, dependency.ItemResult{
				Phase: pam.PhaseUpdate, Kind: i.Kind, Name: i.Name, Status: pam.StatusPending,
				Error: &pam.ItemError{Class: "credential_rejected", Native: 1326},
			})
		}
		return ok, nil
	}
	ok.Update.Proofs = []dependency.Proof{{Type: 5, PasswordOK: true, Granted: true}}
	for _, i := range q.Update.Items {
		h.find(i.Name).password = next
		ok.Update.Results = append(ok.Update.Results, dependency.ItemResult{
			Phase: pam.PhaseUpdate, Kind: i.Kind, Name: i.Name, Status: pam.StatusOK,
		})
	}
	ok.Update.Inventory = h.inventory(q.Machine.UID)
	if f == faultLostAfter {
		return executor.Result{LoggedIn: true}, lost(true)
	}
	return ok, nil
}

func (h *host) find(name string) *service {
	for _, s := range h.services {
		if strings.EqualFold(s.name, name) {
			return s
		}
	}
	return &service{}
}

func (w *world) restart(h *host, p pam.RestartPlan, on func(executor.Event)) error {
	f := w.take("restart")
	if f == faultLostBefore {
		return lost(true)
	}
	stopped := map[string]bool{}
	for _, stop := range p.Stops {
		s := h.find(stop.Name)
		if s.state != stop.State || s.pid != stop.PID {
			on(executor.Event{Item: dependency.ItemResult{
				Phase: pam.PhaseRestart, Kind: pam.KindService, Name: s.name, Status: pam.StatusSkipped, Reason: "state_changed",
			}})
			continue
		}
		s.state, s.pid, s.running = "Stopped", 0, ""
		s.stops++
		stopped[s.name] = true
		if f == faultFirst {
			return lost(true)
		}
	}
	if f == faultMidway {
		return lost(true)
	}
	for _, s := range p.Starts {
		if stopped[s.Name] {
			if f == faultLostAfter {
				w.start(h, s, pam.PhaseRestart, func(executor.Event) {})
				continue
			}
			w.start(h, s, pam.PhaseRestart, on)
		}
	}
	if f == faultLostAfter {
		return lost(true)
	}
	return nil
}

func (w *world) start(h *host, start pam.Start, phase pam.Phase, on func(executor.Event)) {
	s := h.find(start.Name)
	if s.state != "Stopped" {
		on(executor.Event{Item: dependency.ItemResult{Phase: phase, Kind: pam.KindService, Name: s.name, Status: pam.StatusNoop}})
		return
	}
	if s.broken {
		on(executor.Event{Item: dependency.ItemResult{
			Phase: phase, Kind: pam.KindService, Name: s.name, Status: pam.StatusFailed,
			After: pam.Snapshot{State: "Stopped"}, Error: &pam.ItemError{Class: "start_timeout", Native: 1053},
		}})
		return
	}
	w.nextPID++
	s.starts++
	s.state, s.pid, s.running = "Running", w.nextPID, s.password
	on(executor.Event{Item: dependency.ItemResult{
		Phase: phase, Kind: pam.KindService, Name: s.name, Status: pam.StatusOK, After: pam.Snapshot{State: "Running"},
	}})
}

// A scene is a world with its store and the engine that works in it.
type scene struct {
	world *world
	store *memStore
	crash *crasher
	runs  int

	clockMu sync.Mutex
	clock   int64
}

const oldPassword = "old-Passw0rd"

func uid(c string) pam.UID { return pam.UID(strings.Repeat(c, 22)) }

// newScene has machines hosts, each with one running service that a running
// dependent needs, one stopped and one disabled service.
func newScene(machines int, exact bool) *scene {
	c := &crasher{}
	sc := &scene{crash: c}
	sc.world = &world{
		crash: c, sid: "S-1-5-21-1", password: oldPassword, history: []string{oldPassword}, exact: exact,
		hosts: map[pam.UID]*host{}, faults: map[string]fault{}, nextPID: 1000,
	}
	sc.store = &memStore{
		crash: c, now: sc.now, plans: map[pam.UID]pam.RestartPlan{}, deployed: map[itemKey]pam.Deployment{},
		settings: pam.RotationSettings{User: uid("U"), Resource: uid("D"), Enabled: true},
		account:  pam.Account{UID: uid("A"), Authority: pam.AuthorityWindows, Name: `LAB\svc`},
		admin:    pam.Login{Record: uid("L"), Title: "LAB admin", User: `LAB\admin`, Password: secret.New([]byte("adminpw"))},
		machines: map[pam.UID]pam.Machine{uid("D"): {UID: uid("D"), Title: "DC01", OperatingSystem: "windows", Transport: pam.WinRM}},
		gens: []pam.Generation{{
			Account: uid("A"), Number: 1, Status: pam.Current, Source: pam.SourceManual, Password: secret.New([]byte(oldPassword)),
		}},
	}
	sc.newJob()
	for n := range machines {
		m := uid(fmt.Sprint(n + 1))
		title := fmt.Sprintf("SRV%d", n+1)
		sc.store.machines[m] = pam.Machine{UID: m, Title: title, OperatingSystem: "windows", Transport: pam.WinRM, Host: title, Port: 5986}
		sc.store.mappings = append(sc.store.mappings, pam.Mapping{User: uid("U"), Machine: m, Kinds: pam.MapServices})
		sc.world.hosts[m] = &host{services: []*service{
			{name: "App", state: "Running", mode: "Auto", pid: 10*n + 11, password: oldPassword, running: oldPassword, target: true, dependents: []string{"Web"}},
			{name: "Web", state: "Running", mode: "Auto", pid: 10*n + 12},
			{name: "Idle", state: "Stopped", mode: "Auto", password: oldPassword, target: true},
			{name: "Off", state: "Stopped", mode: "Disabled", password: oldPassword, target: true},
		}}
	}
	return sc
}

func (sc *scene) newJob() {
	sc.store.job = pam.Job{ID: uid("J"), User: uid("U"), UserTitle: "svc", Account: uid("A"), AccountName: `LAB\svc`, State: pam.JobQueued}
	sc.store.plans = map[pam.UID]pam.RestartPlan{}
}

func (sc *scene) now() time.Time {
	sc.clockMu.Lock()
	defer sc.clockMu.Unlock()
	sc.clock++
	return time.Unix(1_800_000_000+sc.clock, 0).UTC()
}

func (sc *scene) engine() *Engine {
	return New(Config{
		Store: sc.store, Executor: sc.world, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Now:      sc.now,
		ReadFile: func(string) ([]byte, error) { return nil, errors.New("no files here") },
		Lock:     func(context.Context, pam.UID) (func() error, error) { return func() error { return nil }, nil },
		// One machine at a time: a crash then is one event of one goroutine.
		Limits: Limits{Machines: 1, Retries: 2, Backoff: time.Nanosecond},
	})
}

func (sc *scene) run(t *testing.T) pam.Job {
	t.Helper()
	sc.runs++
	j, err := sc.engine().Run(t.Context(), sc.store.job.ID)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
