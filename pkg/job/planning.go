package job

import (
	"fmt"
	"slices"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
)

// makePlan turns what was seen into what will be done.
func (r *run) makePlan() {
	name := r.account.Name
	warnings := append(r.plan.Warnings, r.authority.findings.Warnings...)
	warnings = append(warnings, r.lockoutWarnings()...)
	items := []pam.Item{{
		Machine: r.authority.machine.UID, MachineTitle: r.authority.machine.Title,
		Kind: pam.KindAccount, Name: name, Phase: pam.PhaseLook, Status: pam.StatusPending, Action: pam.ActionSet,
	}}
	for _, s := range r.sites {
		switch {
		case r.over(s): // a former run did everything there: it is not missed
		case s.skipped != "":
			items = append(items, s.item(pam.StatusPending, string(s.skipped)))
		case s.twin != nil:
			items = append(items, s.item(pam.StatusSkipped, "same machine as "+s.twin.machine.Title))
		default:
			items = append(items, r.reachedNow(s)...)
			items = append(items, r.deferred(r.planItems(s))...)
			for _, w := range s.inventory.Warnings {
				warnings = append(warnings, s.machine.Title+": "+w)
			}
			for _, told := range s.inventory.Reports {
				warnings = append(warnings, s.machine.Title+": "+told.Text)
			}
		}
	}
	for _, s := range r.disabled {
		items = append(items, r.leftOut(s)...)
	}
	if r.dry && r.windowShut() {
		r.plan.Notes = append(r.plan.Notes, "the restart window is shut until "+r.opens()+": what would be restarted runs on with the "+
			"old password, and nothing restarts by itself: give pam action restart JOB then")
	}
	r.plan = pam.Plan{
		User: r.job.User, UserTitle: r.job.UserTitle, Account: r.account.UID, AccountName: name,
		Identity: r.authority.findings.Identity.Alias, Authority: r.authority.place(), Machines: r.places(),
		Restart: r.restartText(), Items: r.steps.plan(items), Warnings: warnings, Notes: r.plan.Notes,
	}
	r.job.Warnings = warnings
	if len(r.plan.Notes) > 0 { // a resume makes none, and those of the first run hold
		r.job.Notes = r.plan.Notes
	}
}

// leftOut is a machine that is switched off, with what a former run of the job did
// not get done there: nobody waits for it any more.
func (r *run) leftOut(s *site) []pam.Item {
	items := []pam.Item{s.item(pam.StatusSkipped, reasonDisabled)}
	for _, i := range r.steps.of(s.machine.UID) {
		if !i.Status.Done() && !i.Updated {
			i.Status, i.Action, i.Reason, i.Error = pam.StatusSkipped, pam.ActionSkip, reasonDisabled, nil
			items = append(items, i)
		}
	}
	return items
}

// lockoutWarnings say when an account has no failed log-on to spare.
func (r *run) lockoutWarnings() []string {
	f := r.authority.findings
	if n, ok := r.budget(); !ok || n > 0 || f.LockoutThreshold == nil {
		return nil
	}
	return []string{fmt.Sprintf("%s locks after %d wrong passwords and %d are counted: machines are updated one at a time, "+
		"and the first that refuses the new password is the last that is asked", r.account.Name, *f.LockoutThreshold, f.BadCount)}
}

func (a authority) place() pam.Place {
	return pam.Place{
		Machine: a.machine.UID, Title: a.machine.Title, Address: a.machine.Address(), ID: a.findings.MachineID,
	}
}

// places are the mapped machines as they were found.
func (r *run) places() []pam.Place {
	places := []pam.Place{}
	for _, s := range r.sites {
		places = append(places, pam.Place{
			Machine: s.machine.UID, Title: s.machine.Title, Address: s.machine.Address(), ID: s.inventory.MachineID,
		})
	}
	return places
}

// deferred says in a dry run what a shut window does to restarts. The job itself
// looks at the window again when it comes to them.
func (r *run) deferred(items []pam.Item) []pam.Item {
	if !r.dry || !r.windowShut() {
		return items
	}
	for n, i := range items {
		switch {
		case i.Action == pam.ActionUpdateRestart && i.Kind == pam.KindPool:
			items[n].Reason = dependency.ReasonRecycles
		case i.Action == pam.ActionUpdateRestart:
			items[n].Reason = reasonOutsideWindow
		case i.Action == pam.ActionRestart:
			items[n].Reason = dependency.ReasonWaits
		}
	}
	return items
}

// whenever is an item's reason whether or not the restart window is shut.
func whenever(i pam.Item) string {
	switch {
	case i.Action == pam.ActionUpdateRestart && (i.Reason == reasonOutsideWindow || i.Reason == dependency.ReasonRecycles):
		return ""
	case i.Action == pam.ActionRestart && i.Reason == dependency.ReasonWaits:
		return dependency.ReasonDependent
	}
	return i.Reason
}

// over reports whether former runs of the job did all there was to do on a machine
// that this one does not reach.
func (r *run) over(s *site) bool {
	items := r.steps.of(s.machine.UID)
	if s.skipped == "" || len(items) == 0 {
		return false
	}
	if machine, ok := r.steps.get(keyOf(s.item("", ""))); ok && !machine.Status.Done() {
		return false // it was not reached then, either
	}
	return !slices.ContainsFunc(items, func(i pam.Item) bool { return !i.Status.Done() })
}

// reachedNow ends the item of a machine that a former run of the job could not
// reach: its dependencies stand for it from now on.
func (r *run) reachedNow(s *site) []pam.Item {
	i := s.item(pam.StatusNoop, reasonLater)
	if _, ok := r.steps.get(keyOf(i)); !ok {
		return nil
	}
	return []pam.Item{i}
}

// planItems is what the job means to do on one machine; a machine on which
// nothing runs as the account says so.
func (r *run) planItems(s *site) []pam.Item {
	items := r.known(dependency.PlanItems(s.machine, s.inventory, r.planOptions(s)))
	if len(items) == 0 && !r.job.Errand.Restarts() && !r.superseded() {
		return []pam.Item{s.item(pam.StatusSkipped, reasonNothing)}
	}
	return items
}

func (r *run) planOptions(s *site) dependency.PlanOptions {
	return dependency.PlanOptions{
		Machine: s.machine.UID, NoRestart: r.restartsNothing(), Workers: s.workers,
		Settle: r.job.Options.Settle, Holds: func(i dependency.Item) bool { return r.holds(s, i) },
	}
}

// holds reports whether an item has the job's password already.
func (r *run) holds(s *site, i dependency.Item) bool {
	item, ok := r.steps.get(s.key(i.Kind, i.Name))
	return ok && item.Updated
}

// item is the machine as an item of the job.
func (s *site) item(status pam.Status, reason string) pam.Item {
	action := pam.ActionUpdate
	if status == pam.StatusSkipped {
		action = pam.ActionSkip
	}
	return pam.Item{
		Machine: s.machine.UID, MachineTitle: s.machine.Title, Kind: pam.KindMachine, Name: s.machine.Title,
		Phase: pam.PhaseLook, Status: status, Action: action, Reason: reason,
	}
}

func itemsOf(items []dependency.Item, k pam.DependencyKind) []dependency.Item {
	var own []dependency.Item
	for _, i := range items {
		if i.Kind == k {
			own = append(own, i)
		}
	}
	return own
}
