package dependency

import (
	"slices"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// PlanItems is what a dry run shows of one machine: each item that runs as the
// account, and each dependent that is restarted with one, with what will be done
// to it, why not more, and the state it was seen in.
func PlanItems(m pam.Machine, inv Inventory, o PlanOptions) []pam.Item {
	o.Machine = m.UID
	plan, skips := PlanRestart(inv, func(i Item) bool { return i.Target && i.Skip == "" }, o)
	v := preview{restarted: map[itemKey]bool{}, later: map[itemKey]bool{}, skipped: map[itemKey]Skip{}, options: o}
	if o.NoRestart {
		v.later = dependentsLater(inv, o)
	}
	for _, s := range plan.Stops {
		v.restarted[keyOf(pam.KindService, s.Name)] = true
	}
	for _, r := range plan.Recycles {
		v.restarted[keyOf(pam.KindPool, r.Name)] = true
	}
	for _, s := range skips {
		v.skipped[keyOf(s.Kind, s.Name)] = s
	}
	seen := map[itemKey]bool{}
	items := []pam.Item{}
	for _, i := range inv.Items {
		action, reason := v.action(i)
		if key := keyOf(i.Kind, i.Name); action != "" && !seen[key] {
			seen[key] = true
			items = append(items, pam.Item{
				Machine: m.UID, MachineTitle: m.Title, Kind: i.Kind, Name: i.Name,
				Phase: pam.PhaseLook, Status: statusOf(i, action), Action: action, Reason: reason,
				Before: pam.Snapshot{RunAs: i.RunAs, State: i.State, StartMode: i.StartMode}, Workers: i.Workers,
			})
		}
	}
	slices.SortStableFunc(items, func(a, b pam.Item) int {
		if k := pam.KindRank(a.Kind) - pam.KindRank(b.Kind); k != 0 {
			return k
		}
		return strings.Compare(fold(a.Name), fold(b.Name))
	})
	return items
}

// dependentsLater are the services of other accounts that a restart stops and
// starts when it is done later: whoever puts it off wants to know of them now.
func dependentsLater(inv Inventory, o PlanOptions) map[itemKey]bool {
	o.NoRestart = false
	plan, _ := PlanRestart(inv, func(i Item) bool { return i.Target && i.Skip == "" }, o)
	later := map[itemKey]bool{}
	for _, s := range plan.Stops {
		later[keyOf(pam.KindService, s.Name)] = !s.Target
	}
	return later
}

// An itemKey names an item of one machine.
type itemKey struct {
	kind pam.DependencyKind
	name string
}

func keyOf(kind pam.DependencyKind, name string) itemKey { return itemKey{kind, fold(name)} }

type preview struct {
	restarted map[itemKey]bool
	later     map[itemKey]bool
	skipped   map[itemKey]Skip
	options   PlanOptions
}

// action is what will be done to an item, and why not more; "" for one that is
// not touched and would not be, whatever the policy.
func (v preview) action(i Item) (pam.Action, string) {
	key := keyOf(i.Kind, i.Name)
	switch {
	case !i.Target && v.restarted[key]:
		return pam.ActionRestart, ReasonDependent
	case !i.Target && v.later[key]:
		return pam.ActionSkip, ReasonWaits
	case i.Skip != "":
		return pam.ActionSkip, i.Skip
	case !i.Target:
		return "", ""
	case v.restarted[key]:
		return pam.ActionUpdateRestart, ""
	}
	return pam.ActionUpdate, v.reason(i)
}

// reason is why an updated item is not restarted.
func (v preview) reason(i Item) string {
	if s, ok := v.skipped[keyOf(i.Kind, i.Name)]; ok {
		return s.Text()
	}
	switch {
	case i.Kind == pam.KindTask:
		return ReasonTask
	case atOnce(i):
		return ReasonAtOnce
	case i.Kind == pam.KindPool && i.State == stateStarted && v.options.NoRestart && len(i.Workers) > 0:
		return ReasonRecycles
	case i.Kind == pam.KindPool && i.State == stateStarted:
		return ReasonIdle
	case i.State != stateStopped:
		return powershell.ClassTransitioning
	}
	return ReasonInactive
}

// atOnce reports whether an item is something that nothing runs as by itself:
// IIS logs on with what is stored when the next request needs it.
func atOnce(i Item) bool {
	return i.Kind == pam.KindVdir || i.Kind == pam.KindAnonymous || i.Kind == pam.KindPool && i.Name == powershell.PoolDefaults
}

// statusOf is where an item stands before anything is done. What stores the password,
// or may, and is left alone keeps the old one: it stays undone, and so does the job.
func statusOf(i Item, a pam.Action) pam.Status {
	undone := i.Unreadable || i.Skip == powershell.ClassSharedConfig || i.Skip == powershell.ClassStorageDisabled
	if a == pam.ActionSkip && !undone {
		return pam.StatusSkipped
	}
	return pam.StatusPending
}
