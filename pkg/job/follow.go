package job

import (
	"context"
	"errors"
	"slices"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
)

// follow brings every machine to the committed password: all stored credentials
// first, everywhere at once and without a restart, then the restarts in waves.
// One failure never spares the rest; what is left is in the items.
func (r *run) follow(ctx context.Context) error {
	current, err := r.cfg.Store.Generation(ctx, r.account.UID, pam.Current)
	if err != nil {
		return err
	}
	if current.Number != r.job.Generation {
		return r.replaced(ctx)
	}
	r.pending = current
	if i, ok := r.steps.get(r.accountKey()); !ok || !i.Updated {
		r.accountItem(ctx, pam.StatusOK, nil) // a former run was cut off right after the commit
	}
	if err := r.repairAll(ctx); err != nil {
		return err
	}
	if err := r.enter(ctx, pam.PhaseUpdate); err != nil {
		return err
	}
	if budget, ok := r.budget(); ok {
		r.ration.limit(r.newCredential(), budget)
	}
	r.each(ctx, r.working(), r.updateSite)
	r.tellOfUpdates()
	if !r.setAt.IsZero() {
		r.job.Window = r.cfg.Now().Sub(r.setAt)
	}
	r.markUnreached(ctx)
	if r.restartsNothing() {
		for _, s := range r.working() {
			r.leave(ctx, s, leftByChoice)
		}
		return nil
	}
	if err := r.enter(ctx, pam.PhaseRestart); err != nil {
		return err
	}
	return r.restartAll(ctx)
}

// lockoutReserve is what is kept of the lockout threshold: one failed log-on for
// a lost answer of the authority, and one for whoever else tries.
const lockoutReserve = 2

// budget is how many failed log-ons the account can bear on all machines
// together; ok is false when nothing locks it, or nobody knows what does.
func (r *run) budget() (n int, ok bool) {
	f := r.authority.findings
	threshold := 0
	if f.LockoutThreshold != nil {
		threshold = *f.LockoutThreshold
	} else if r.job.Committed { // the authority is not asked again: the machines know its policy
		for _, s := range r.working() {
			if t := s.inventory.LockoutThreshold; t != nil && *t > 0 && (threshold == 0 || *t < threshold) {
				threshold = *t
			}
		}
	}
	return threshold - f.BadCount - lockoutReserve, threshold > 0
}

// enter makes the job's phase durable.
func (r *run) enter(ctx context.Context, p pam.Phase) error {
	r.job.Phase = p
	return r.cfg.Store.SetJob(ctx, r.job)
}

// working are the sites that take part.
func (r *run) working() []*site {
	var sites []*site
	for _, s := range r.sites {
		if s.works() {
			sites = append(sites, s)
		}
	}
	return sites
}

// targets are the items of a site that hold the account's password and can be
// given the new one.
func (s *site) targets() []dependency.Item {
	var targets []dependency.Item
	for _, i := range s.inventory.Items {
		if i.Target && i.Skip == "" {
			targets = append(targets, i)
		}
	}
	return targets
}

// updateSite stores the new password with every item of one machine, after one
// proof there that it logs on.
func (r *run) updateSite(ctx context.Context, s *site) {
	targets := r.outstanding(s)
	if len(targets) == 0 {
		return
	}
	done, err := r.ration.permit(ctx, r.newCredential(), "the new password of "+r.account.Name, s.machine.Title)
	if err != nil {
		r.failSite(ctx, s, targets, pam.StatusPending, "credential_rejected", err)
		return
	}
	res, err := r.atMachine(ctx, s, executor.Update{
		Update: dependency.UpdateRequest{
			Run: r.job.ID, Subject: r.subject(s), Kinds: s.kinds, Items: targets, GrantRights: r.job.Options.GrantRights,
		}, Next: 1,
	}, &r.pending.Password, func(e executor.Event) { r.updated(ctx, s, e.Item) })
	done(proofOf(res.Update, err))
	heard := map[itemKey]bool{}
	for _, item := range res.Update.Results {
		heard[s.key(item.Kind, item.Name)] = true
		r.updated(ctx, s, item)
	}
	if err != nil || len(res.Update.Results) < len(targets) {
		r.failUnheard(ctx, s, targets, heard, err)
	}
	if err == nil && !res.Update.Rejected {
		s.inventory.Items = refresh(s.inventory.Items, res.Update.Inventory.Items)
		r.unproven(ctx, s, targets, res.Update.Proofs)
		s.told = res.Update.Inventory.Warnings
	}
}

// tellOfUpdates adds what machines said of their updates to the job's warnings: a
// right that was granted, say. What their looks said is there already.
func (r *run) tellOfUpdates() {
	for _, s := range r.working() {
		for _, text := range s.told {
			if w := s.machine.Title + ": " + text; !slices.Contains(r.job.Warnings, w) {
				r.job.Warnings = append(r.job.Warnings, w)
			}
		}
		s.told = nil
	}
}

// proofOf is what the ration learns from an update. An answer that was lost may
// hide a refusal.
func proofOf(u dependency.Update, err error) logon {
	if u.Rejected {
		return logonRefused
	}
	for _, p := range u.Proofs {
		if p.PasswordOK {
			return logonAccepted
		}
	}
	if err != nil && wasSent(err) {
		return logonUnknown
	}
	return logonNeutral
}

// outstanding are the targets that no former run of this job gave the new
// password, or that were refused the log-on then: what mended that is proven.
// While there are any, services that a former run gave it to and did not restart
// are among them: an update holds back a service for which it made no log-on, and
// what a former run proved is not known any more.
func (r *run) outstanding(s *site) []dependency.Item {
	targets := s.targets()
	left := slices.DeleteFunc(slices.Clone(targets), func(t dependency.Item) bool {
		i, ok := r.steps.get(s.key(t.Kind, t.Name))
		return ok && i.Updated && !isUnproven(i)
	})
	if len(left) == 0 {
		return nil
	}
	for _, t := range targets {
		i, ok := r.steps.get(s.key(t.Kind, t.Name))
		if ok && i.Updated && !isUnproven(i) && t.Kind == pam.KindService && i.Action == pam.ActionUpdateRestart && !i.Status.Done() {
			left = append(left, t)
		}
	}
	return left
}

// updated saves what an update did to one item, and with it which generation
// the item now holds.
func (r *run) updated(ctx context.Context, s *site, res dependency.ItemResult) {
	old, ok := r.steps.get(s.key(res.Kind, res.Name))
	if !ok {
		return // never asked for
	}
	i := apply(old, res)
	i.Updated = res.Status == pam.StatusOK || res.Status == pam.StatusNoop
	switch {
	case r.hadIt(s, old, res):
		i.Phase, i.Status = pam.PhaseRestart, pam.StatusNoop // its workers run with it, too
	case i.Updated && i.Action == pam.ActionUpdateRestart:
		i.Status = pam.StatusPending // until it is restarted
	}
	d := pam.Deployment{
		Account: r.account.UID, Machine: s.machine.UID, Kind: res.Kind, Name: old.Name,
		Generation: r.pending.Number, Status: pam.DeploymentConfirmed, Seen: r.cfg.Now(),
	}
	switch {
	case i.Updated:
	case res.Status == pam.StatusUnknown:
		d.Status = pam.DeploymentUnknown
	default:
		d.Generation, d.Status = r.pending.Number-1, pam.DeploymentStale
	}
	r.steps.put(ctx, i, &d)
}

// hadIt reports whether a pool stored the password already, and not because a
// former run of the job had sent it: nothing changed, and nothing is recycled.
func (*run) hadIt(s *site, pool pam.Item, res dependency.ItemResult) bool {
	return pool.Kind == pam.KindPool && pool.Action == pam.ActionUpdateRestart && res.Status == pam.StatusNoop && !s.sent[pool.Name]
}

func (s *site) key(kind pam.DependencyKind, name string) itemKey {
	return keyOf(pam.Item{Machine: s.machine.UID, Kind: kind, Name: name})
}

// failUnheard accounts for the items that a machine did not answer for: with
// the input certainly not received they are pending, else unknown.
func (r *run) failUnheard(ctx context.Context, s *site, targets []dependency.Item, heard map[itemKey]bool, err error) {
	var unheard []dependency.Item
	for _, t := range targets {
		if !heard[s.key(t.Kind, t.Name)] {
			unheard = append(unheard, t)
		}
	}
	status := pam.StatusUnknown
	if err != nil && !wasSent(err) {
		status = pam.StatusPending
	}
	if err == nil {
		err = errors.New("the machine did not say what became of it")
	}
	r.failSite(ctx, s, unheard, status, string(pam.KindOf(err)), err)
}

// failSite gives items of one machine the same failure.
func (r *run) failSite(ctx context.Context, s *site, items []dependency.Item, status pam.Status, class string, err error) {
	r.cfg.Log.WarnContext(ctx, "machine not updated", "job", r.job.ID, "machine_uid", s.machine.UID,
		"class", class, "error", err)
	for _, t := range items {
		i, ok := r.steps.get(s.key(t.Kind, t.Name))
		if !ok {
			continue
		}
		i.Phase, i.Status, i.Error = pam.PhaseUpdate, status, &pam.ItemError{Class: class, Message: err.Error()}
		d := pam.Deployment{
			Account: r.account.UID, Machine: s.machine.UID, Kind: t.Kind, Name: t.Name,
			Generation: r.pending.Number - 1, Status: pam.DeploymentStale, Seen: r.cfg.Now(),
		}
		if status == pam.StatusUnknown {
			d.Status = pam.DeploymentUnknown
		}
		r.steps.put(ctx, i, &d)
	}
}

// markUnreached makes the known dependencies of machines that took no part
// stale: they hold an older password until a later job reaches them.
func (r *run) markUnreached(ctx context.Context) {
	known, err := r.cfg.Store.Deployments(ctx, r.account.UID)
	if err != nil {
		r.cfg.Log.ErrorContext(ctx, "read deployments", "job", r.job.ID, "error", err)
		return
	}
	for _, s := range r.sites {
		if s.skipped == "" || r.over(s) {
			continue
		}
		item := s.item(pam.StatusPending, string(s.skipped))
		item.Error = &pam.ItemError{Class: string(s.skipped), Message: s.missed.Error()}
		stale := false
		for _, d := range known {
			if d.Machine == s.machine.UID && d.Generation < r.pending.Number {
				d.Status, stale = pam.DeploymentStale, true
				r.steps.put(ctx, item, &d)
			}
		}
		if !stale {
			r.steps.put(ctx, item, nil)
		}
	}
}

// refresh replaces items by what was seen later.
func refresh(items, later []dependency.Item) []dependency.Item {
	if len(later) == 0 {
		return items
	}
	return later
}
