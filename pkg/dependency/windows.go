package dependency

import (
	"context"
	"io"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// Options are what a Host of a Windows machine works with. Both are required.
type Options struct {
	Random io.Reader // of nonces
	Now    func() time.Time
}

// Open logs in to a Windows machine. Failures are *[remote.Error].
func Open(ctx context.Context, d remote.Dialer, t remote.Target, o Options) (Host, error) {
	s, err := d.Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	return &windows{session: s, address: t.Address(), options: o}, nil
}

// A windows is a Host over one session that speaks the script contract.
type windows struct {
	session remote.Session
	address string
	options Options
}

var _ Host = (*windows)(nil)

// Look asks for everything that runs as the subject, and for what can only be
// reported of it; or for everything that runs as anyone.
func (w *windows) Look(ctx context.Context, r LookRequest) (Inventory, error) {
	req := powershell.Request{Op: powershell.OpLook, Run: string(r.Run), Kinds: words(r.Kinds)}
	if !r.Everyone {
		target := powershell.SubjectAccount(r.Subject.Login, r.Subject.Identity)
		req.Target, req.Kinds = &target, append(req.Kinds, powershell.KindReport)
	}
	answer, err := powershell.Call(ctx, w.session, w.options.Random, req, nil, nil)
	if err != nil {
		return Inventory{}, err
	}
	if r.Everyone {
		return w.owned(answer, r.Kinds), nil
	}
	if err := answer.NeedAdmin(); err != nil {
		return Inventory{}, err
	}
	return w.inventory(answer, r.Subject, r.Kinds), nil
}

// Update has the machine prove the password and store it.
func (w *windows) Update(ctx context.Context, r UpdateRequest, next secret.Value, on func(ItemResult)) (Update, error) {
	asked := newLedger(pam.PhaseUpdate, on)
	target := powershell.SubjectAccount(r.Subject.Login, r.Subject.Identity)
	req := powershell.Request{
		Op: powershell.OpUpdate, Run: string(r.Run), Journal: true, Target: &target, Kinds: words(r.Kinds),
		Secrets: map[string]int{powershell.SecretNew: 0}, Policy: powershell.Policy{Proof: "required", GrantRights: r.GrantRights},
	}
	for _, i := range r.Items {
		if i.Target && i.Skip == "" && asked.ask(i.Kind, i.Name) {
			req.Items = append(req.Items, powershell.ItemRef{Kind: string(i.Kind), ID: i.Name, ExpectRunAs: i.RunAs})
		}
	}
	if len(req.Items) == 0 { // a proof would spend a logon for nothing
		inv, err := w.Look(ctx, LookRequest{Run: r.Run, Subject: r.Subject, Kinds: r.Kinds})
		return Update{Inventory: inv}, err
	}
	answer, err := powershell.Call(ctx, w.session, w.options.Random, req, []secret.Value{next}, asked.hear)
	u := Update{Proofs: proofs(answer.Proofs), Inventory: w.inventory(answer, r.Subject, r.Kinds)}
	u.Inventory.Warnings = append(append(u.Inventory.Warnings, asked.notes...), granted(u.Proofs)...)
	u.Rejected = rejected(u.Proofs)
	holdBack(u.Inventory.Items, u.Proofs)
	u.Results = asked.settle(unheard(u.Proofs, err))
	return u, err
}

// Restart sends a plan and hears what becomes of each of its items.
func (w *windows) Restart(ctx context.Context, run pam.UID, p pam.RestartPlan, on func(ItemResult)) error {
	return w.carryOut(ctx, powershell.OpRestart, pam.PhaseRestart, run, p, on)
}

// Repair sends a plan that was cut off, to have started what it left stopped.
func (w *windows) Repair(ctx context.Context, run pam.UID, p pam.RestartPlan, on func(ItemResult)) error {
	return w.carryOut(ctx, powershell.OpRepair, pam.PhaseRepair, run, p, on)
}

func (w *windows) carryOut(
	ctx context.Context, op powershell.Op, phase pam.Phase, run pam.UID, p pam.RestartPlan, on func(ItemResult),
) error {
	asked := newLedger(phase, on)
	for _, s := range p.Stops {
		asked.ask(pam.KindService, s.Name)
	}
	if op == powershell.OpRestart { // a pool is never left stopped: there is nothing to repair
		for _, r := range p.Recycles {
			asked.ask(pam.KindPool, r.Name)
		}
	}
	req := powershell.Request{Op: op, Run: string(run), Journal: true, Plan: scriptPlan(p)}
	_, err := powershell.Call(ctx, w.session, w.options.Random, req, nil, asked.hear)
	asked.settle(unheard(nil, err))
	return err
}

// Close ends the session.
func (w *windows) Close() error { return w.session.Close() }

// scriptPlan is a plan in the script's words.
func scriptPlan(p pam.RestartPlan) *powershell.Plan {
	plan := &powershell.Plan{
		Stops: []powershell.PlanStop{}, Starts: []powershell.PlanStart{}, Recycles: []powershell.PlanRecycle{},
		StopTimeoutMs: p.StopTimeout.Milliseconds(), StartTimeoutMs: p.StartTimeout.Milliseconds(), SettleMs: p.Settle.Milliseconds(),
	}
	if p.KillOwnProcess {
		plan.OnStopTimeout = powershell.KillOwnProcess
	}
	for _, s := range p.Stops {
		plan.Stops = append(plan.Stops, powershell.PlanStop{ID: s.Name, State: s.State, PID: s.PID, Started: stamp(s.Started)})
	}
	for _, s := range p.Starts {
		plan.Starts = append(plan.Starts, powershell.PlanStart{ID: s.Name, Pause: s.Pause})
	}
	for _, r := range p.Recycles {
		workers := r.Workers
		if workers == nil {
			workers = []int{}
		}
		plan.Recycles = append(plan.Recycles, powershell.PlanRecycle{ID: r.Name, Workers: workers})
	}
	return plan
}

// stamp writes a time as the look line gave it: the script compares text.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func words(kinds []pam.DependencyKind) []string {
	all := []string{}
	for _, k := range kinds {
		all = append(all, string(k))
	}
	return all
}
