package discover

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fleet is a store and a visitor in memory.
type fleet struct {
	mu       sync.Mutex
	machines map[pam.UID]pam.Machine
	rotated  []pam.RotationSettings
	identity map[pam.UID]pam.Identity
	answers  map[pam.UID]executor.Result
	failures map[pam.UID]error
	saved    pam.Discovery
	findings map[pam.UID]pam.Finding
	full     bool // the disk
	requests map[pam.UID]executor.Request
}

func newFleet() *fleet {
	f := &fleet{
		machines: map[pam.UID]pam.Machine{}, identity: map[pam.UID]pam.Identity{}, answers: map[pam.UID]executor.Result{},
		failures: map[pam.UID]error{}, findings: map[pam.UID]pam.Finding{}, requests: map[pam.UID]executor.Request{},
	}
	for _, c := range []string{"A", "B"} {
		f.machines[uid(c)] = pam.Machine{UID: uid(c), Title: "SRV-" + c, OperatingSystem: "windows", Transport: pam.WinRM, Host: "h", Port: 5986, ServerPin: "sha256:00"}
	}
	return f
}

func (f *fleet) engine() *Engine {
	return New(Config{Store: f, Visitor: f, Now: func() time.Time { return time.Unix(1_800_000_000, 0).UTC() }})
}

func (f *fleet) Machine(_ context.Context, uid pam.UID) (pam.Machine, error) {
	m, ok := f.machines[uid]
	if !ok {
		return m, pam.Errorf(pam.ErrInvalidInput, "machine has no pamHostname").WithHint("record-update")
	}
	return m, nil
}

func (f *fleet) Rotations(context.Context) ([]pam.RotationSettings, error) { return f.rotated, nil }

func (f *fleet) SaveDiscovery(_ context.Context, d pam.Discovery) (pam.Discovery, error) {
	d.ID = uid("J")
	f.saved = d
	return d, nil
}

func (f *fleet) SaveFinding(_ context.Context, _ pam.UID, x pam.Finding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return pam.Errorf(pam.ErrIO, "the disk is full")
	}
	f.findings[x.Machine] = x
	return nil
}

func (f *fleet) AtMachine(ctx context.Context, m pam.UID, request func(executor.Machine) executor.Request) (executor.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests[m] = request(executor.Machine{UID: m})
	if err := ctx.Err(); err != nil {
		return executor.Result{}, err
	}
	return f.answers[m], f.failures[m]
}

func (f *fleet) Identify(_ context.Context, user pam.UID) (pam.Identity, error) {
	id, ok := f.identity[user]
	if !ok {
		return id, errors.New("its authority is down")
	}
	return id, nil
}

func down() error { return pam.Errorf(pam.ErrUnreachable, "down").WithHint("look") }

func TestADiscoveryKeepsWhatEachMachineSaid(t *testing.T) {
	t.Parallel()
	f := newFleet()
	own, other := uid("C"), uid("O")
	f.rotated = []pam.RotationSettings{{User: uid("U"), Configuration: own}, {User: uid("V"), Configuration: own}, {User: uid("W"), Configuration: other}}
	f.identity[uid("U")] = pam.Identity{Alias: svcSID}
	f.answers[uid("A")] = executor.Result{Inventory: dependency.Inventory{
		MachineID: guid, User: `LAB\admin`, Warnings: []string{"odd"}, Items: []dependency.Item{
			{Kind: pam.KindService, Name: "App", RunAs: `LAB\svc`, State: "Running", Owner: &pam.Owner{SID: svcSID, Class: "user"}},
			{Kind: pam.KindTask, Name: `\`, Skip: "task_service_down", Unreadable: true},
		},
	}}
	f.failures[uid("B")] = down()
	heard := 0
	d, err := f.engine().Run(t.Context(), pam.Discovery{Configurations: []pam.UID{own}, Scope: "all"}, []pam.UID{uid("A"), uid("B")}, func(pam.Finding) { heard++ })
	if !errors.Is(err, pam.ErrUnreachable) || d.State != pam.JobPartial || d.Finished.IsZero() || heard != 2 || f.saved.State != pam.JobPartial {
		t.Errorf("%+v, %v; heard %d", d, err, heard)
	}
	if look, ok := f.requests[uid("A")].(executor.Look); !ok || !look.Look.Everyone || len(look.Look.Kinds) < 3 {
		t.Errorf("asked %+v", f.requests[uid("A")])
	}
	if len(d.Users) != 2 || d.Users[0].Identity.Alias != svcSID || d.Users[1].Problem == "" {
		t.Errorf("users %+v", d.Users)
	}
	a, b := f.findings[uid("A")], f.findings[uid("B")]
	if a.MachineID != guid || a.Admin != `LAB\admin` || len(a.Items) != 2 || a.Items[0].Owner.SID != svcSID || a.Items[1].Owner.Class != "" || len(a.Warnings) != 1 {
		t.Errorf("SRV-A: %+v", a)
	}
	if b.Failure != pam.ErrUnreachable || b.Hint != "look" || b.Title != "SRV-B" || b.Items == nil {
		t.Errorf("SRV-B: %+v", b)
	}
}

func TestHowADiscoveryEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		make func(*fleet) context.Context
		want pam.JobState
		kind pam.Kind
	}{
		{"all answer", func(*fleet) context.Context { return context.Background() }, pam.JobFinished, ""},
		{"none answers", func(f *fleet) context.Context {
			f.failures[uid("A")], f.failures[uid("B")] = down(), down()
			return context.Background()
		}, pam.JobFailed, pam.ErrUnreachable},
		{"one is not Windows", func(f *fleet) context.Context {
			f.machines[uid("B")] = pam.Machine{UID: uid("B"), OperatingSystem: "linux"}
			return context.Background()
		}, pam.JobPartial, pam.ErrInvalidInput},
		{"nothing can be saved", func(f *fleet) context.Context {
			f.full = true
			return context.Background()
		}, pam.JobFailed, pam.ErrIO},
		{"it is interrupted", func(*fleet) context.Context {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx
		}, pam.JobCancelled, pam.ErrInterrupted},
	} {
		f := newFleet()
		ctx := c.make(f)
		d, err := f.engine().Run(ctx, pam.Discovery{}, []pam.UID{uid("A"), uid("B")}, func(pam.Finding) {})
		if d.State != c.want || f.saved.State != c.want || (err != nil) != (c.kind != "") || err != nil && pam.KindOf(err) != c.kind {
			t.Errorf("%s: %s (saved %s), %v", c.name, d.State, f.saved.State, err)
		}
	}
}

// status finds a check of a machine.
func (h Health) status(name CheckName) Check {
	for _, c := range h.Checks {
		if c.Name == name {
			return c
		}
	}
	return Check{}
}

func TestHealthSaysWhatHelps(t *testing.T) {
	t.Parallel()
	ten, three, none := 10, 3, 0
	good := dependency.Facts{
		Host: "SRV1", User: `LAB\admin`, OS: "10.0.17763", PowerShell: "5.1.17763.316", Language: "FullLanguage", Elevated: true, IIS: true, LockoutThreshold: &ten,
	}
	with := func(change func(*dependency.Facts)) dependency.Facts {
		f := good
		change(&f)
		return f
	}
	failed := func(kind pam.Kind, cause error) error {
		return &remote.Error{Kind: kind, Address: "h:5986", Op: "connect", Err: cause}
	}
	for _, c := range []struct {
		name   string
		facts  dependency.Facts
		err    error
		in     bool // logged in all the same
		check  CheckName
		status CheckStatus
		fix    string // part of it
		after  CheckStatus
	}{
		{"all is well", good, nil, true, CheckRights, CheckOK, "", CheckOK},
		{"nothing answers", dependency.Facts{}, failed(pam.ErrUnreachable, errors.New("refused")), false, CheckReach, CheckFailed, "Set-Service WinRM", CheckNotChecked},
		{"a foreign certificate", dependency.Facts{}, failed(pam.ErrUntrusted, errors.New("pin")), false, CheckTrust, CheckFailed, "", CheckNotChecked},
		{"a wrong password", dependency.Facts{}, failed(pam.ErrAuthFailed, errors.New("no")), false, CheckLogIn, CheckFailed, "", CheckNotChecked},
		{
			"a log-in that the listener does not offer",
			dependency.Facts{},
			failed(pam.ErrAuthFailed, remote.ErrInconclusive), false, CheckLogIn, CheckFailed,
			`Set-Item WSMan:\localhost\Service\Auth\Negotiate $true`, CheckNotChecked,
		},
		{"no admin", dependency.Facts{}, pam.Errorf(pam.ErrInvalidInput, "no admin").WithHint("pam config edit"), false, CheckRecord, CheckFailed, "pam config edit", CheckNotChecked},
		{
			"our script does not answer",
			dependency.Facts{},
			&powershell.FatalError{Class: powershell.ClassInternal}, true, CheckLanguage, CheckFailed,
			powershell.Explain(powershell.ClassInternal), CheckNotChecked,
		},
		{"Constrained Language", dependency.Facts{Language: "ConstrainedLanguage"}, nil, true, CheckLanguage, CheckFailed, "keyturn help windows-command", CheckNotChecked},
		{
			"a local administrator with a filtered token", with(func(f *dependency.Facts) { f.Elevated, f.User = false, `srv1\op` }), nil, true, CheckRights, CheckFailed,
			"LocalAccountTokenFilterPolicy -Value 1", CheckOK,
		},
		{
			"a domain user who is no administrator", with(func(f *dependency.Facts) { f.Elevated = false }), nil, true, CheckRights, CheckFailed,
			`net localgroup Administrators "LAB\admin" /add`, CheckOK,
		},
		{"an old PowerShell", with(func(f *dependency.Facts) { f.PowerShell = "4.0" }), nil, true, CheckPowerShell, CheckWarning, "5.1", CheckOK},
		{"a version that is none", with(func(f *dependency.Facts) { f.PowerShell = "x" }), nil, true, CheckPowerShell, CheckWarning, "5.1", CheckOK},
		{"PowerShell 10 is not older than 5.1", with(func(f *dependency.Facts) { f.PowerShell = "10.0" }), nil, true, CheckPowerShell, CheckOK, "", CheckOK},
		{"an old Windows", with(func(f *dependency.Facts) { f.OS = "6.3.9600" }), nil, true, CheckSystem, CheckWarning, "upgrade", CheckOK},
		{"stored passwords are forbidden", with(func(f *dependency.Facts) { f.StorageDisabled = true }), nil, true, CheckStorage, CheckWarning, "DisableDomainCreds", CheckOK},
		{"locked after three", with(func(f *dependency.Facts) { f.LockoutThreshold = &three }), nil, true, CheckLockout, CheckWarning, "lockoutthreshold", CheckOK},
		{"never locked", with(func(f *dependency.Facts) { f.LockoutThreshold = &none }), nil, true, CheckLockout, CheckOK, "", CheckOK},
		{"the threshold is not known", with(func(f *dependency.Facts) { f.LockoutThreshold = nil }), nil, true, CheckLockout, CheckWarning, "net accounts", CheckOK},
		{"a cluster", with(func(f *dependency.Facts) { f.Cluster = true }), nil, true, CheckCluster, CheckWarning, "Stop-ClusterResource", CheckWarning},
	} {
		f := newFleet()
		f.answers[uid("A")] = executor.Result{Facts: c.facts, LoggedIn: c.in}
		f.failures[uid("A")] = c.err
		all, err := f.engine().Examine(t.Context(), []pam.UID{uid("A")}, func(Health) {})
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %v, %v", c.name, all, err)
		}
		h := all[0]
		got := h.status(c.check)
		if got.Status != c.status || !strings.Contains(got.Fix, c.fix) || (c.status == CheckFailed) != (h.Failure != nil) {
			t.Errorf("%s: %+v, failure %v", c.name, got, h.Failure)
		}
		if len(h.Checks) != len(checksOf(pam.AuthorityWindows)) || h.status(CheckCluster).Status != c.after {
			t.Errorf("%s: the checks are %+v", c.name, h.Checks)
		}
	}
}

func TestAnAdminThatWasRefusedElsewhereIsNotTried(t *testing.T) {
	t.Parallel()
	f := newFleet()
	f.failures[uid("A")] = pam.Errorf(pam.ErrAuthFailed, "not tried: it was refused at SRV2")
	all, _ := f.engine().Examine(t.Context(), []pam.UID{uid("A")}, func(Health) {})
	h := all[0]
	if h.status(CheckReach).Status != CheckNotChecked || h.status(CheckTrust).Status != CheckNotChecked || h.status(CheckLogIn).Status != CheckFailed {
		t.Errorf("%+v", h.Checks)
	}
}

func TestALinuxMachineHasItsOwnChecks(t *testing.T) {
	t.Parallel()
	f := newFleet()
	f.machines[uid("A")] = pam.Machine{UID: uid("A"), Title: "LIN1", OperatingSystem: "Linux", Transport: pam.SSH, Host: "h", Port: 22}
	f.machines[uid("B")] = pam.Machine{UID: uid("B"), Title: "MAC1", OperatingSystem: "macos", Transport: pam.SSH, Host: "h", Port: 22}
	f.answers[uid("A")] = executor.Result{Root: "sudo without a password", LoggedIn: true}
	all, _ := f.engine().Examine(t.Context(), []pam.UID{uid("A"), uid("B"), uid("X")}, func(Health) {})
	if h := all[0]; len(h.Checks) != 5 || h.status(CheckRights).Detail != "root by sudo without a password" || h.Failure != nil {
		t.Errorf("Linux: %+v", h)
	}
	if ping, ok := f.requests[uid("A")].(executor.Ping); !ok || ping.Kind != pam.AuthorityLinux {
		t.Errorf("asked %+v", f.requests[uid("A")])
	}
	if h := all[1]; h.status(CheckRecord).Status != CheckFailed || !errors.Is(h.Failure, pam.ErrInvalidInput) {
		t.Errorf("neither Windows nor Linux: %+v", h)
	}
	if h := all[2]; h.status(CheckRecord).Fix != "record-update" {
		t.Errorf("a record that cannot be read: %+v", h)
	}
	f.answers[uid("A")] = executor.Result{LoggedIn: true}
	f.failures[uid("A")] = pam.Errorf(pam.ErrPolicy, "sudo does not let it become root").WithHint("visudo")
	all, _ = f.engine().Examine(t.Context(), []pam.UID{uid("A")}, func(Health) {})
	if h := all[0]; h.status(CheckLogIn).Status != CheckOK || h.status(CheckRights).Status != CheckFailed || h.status(CheckRights).Fix != "visudo" {
		t.Errorf("no sudo: %+v", h)
	}
}
