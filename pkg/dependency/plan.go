package dependency

import (
	"slices"
	"strings"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// PlanOptions say how the restart of one machine is planned. The zero value is
// the shipped policy.
type PlanOptions struct {
	Machine   pam.UID // of the plan
	NoRestart bool    // leave everything running: the plan is empty
	// Never names services that are not restarted, with * at the end for any
	// rest. nil is [DefaultNever].
	Never []string
	// Holds reports which targets hold the new password, when updated asks for
	// fewer: one that an earlier run restarted holds it, needs no restart for its
	// own sake, and may still be restarted with what it needs. nil is updated.
	Holds func(Item) bool
	// Workers are the workers of each pool from before the update, by the pool's
	// name: workers that are there no more have been recycled already.
	Workers      map[string][]int
	StopTimeout  time.Duration // of one service; 0 is the contract's default
	StartTimeout time.Duration
	Settle       time.Duration
	// KillOwnProcess ends the process of a service that does not stop in time, if
	// it has one to itself. The shipped policy leaves such a service as it is.
	KillOwnProcess bool
}

// DefaultNever are the services that take a new stored password without a
// restart and whose restart costs the most: database servers and their kin.
func DefaultNever() []string {
	return []string{"MSSQL*", "SQLAgent*", "MSOLAP*", "ReportServer*"}
}

// Reasons why something is not restarted or not updated that are no error
// classes of the script contract.
const (
	ReasonTransport   = "would_cut_transport" // it carries our own connection
	ReasonPolicyNever = "policy_never"        // the policy names it
	ReasonNoRestart   = "no_restart"          // the job was told to restart nothing
	ReasonInactive    = "inactive"            // it does not run, and stays so
	ReasonNotProven   = "not_proven"          // no logon proved that it would come up again
	ReasonNotUpdated  = "not_updated"         // it would start with a password that is no longer right
	ReasonTask        = "next_run"            // a task takes its new password when it runs next
	ReasonRecycles    = "recycles_on_change"  // IIS recycles a started pool when its configuration changes, unless told not to
	ReasonAtOnce      = "at_once"             // IIS logs on with it at the next request: no site is restarted
	ReasonIdle        = "no_workers"          // a pool without workers has nothing to recycle
	ReasonDependent   = "dependent"           // it runs as another account and is restarted with what it needs
	ReasonWaits       = "dependent_waits"     // the same, when restarts are left for later: it has no password of the account
)

// A Skip is an updated item that is not restarted although it runs.
type Skip struct {
	Kind   pam.DependencyKind `json:"kind"`
	Name   string             `json:"name"`
	Reason string             `json:"reason"`            // an error class of the contract, or a Reason
	Due    string             `json:"because,omitempty"` // the service that stands in the way, when it is another
}

// Text is the reason as one phrase.
func (s Skip) Text() string {
	if s.Due == "" {
		return s.Reason
	}
	return s.Reason + ": " + s.Due
}

// PlanRestart plans what is restarted on a machine so that updated items take
// their new password, and says which running ones are left alone. Nothing is
// ever stopped that could not be started again, nor anything that an active
// dependent needs which is not restarted with it; what is inactive stays so.
// updated reports which items hold the new password and still run with the old
// one. The plan depends on its
// arguments only, not on the order of the items.
func PlanRestart(inv Inventory, updated func(Item) bool, o PlanOptions) (pam.RestartPlan, []Skip) {
	p := planner{graph: newGraph(inv.Items), updated: updated, options: o}
	p.judge()
	plan := p.emptyPlan()
	stop := p.chosen()
	order := p.startOrder()
	for _, n := range order {
		if stop[n] {
			plan.Starts = append(plan.Starts, pam.Start{Name: p.services[n].Name, Pause: p.services[n].State == statePaused})
		}
	}
	slices.Reverse(order)
	for _, n := range order {
		if s := p.services[n]; stop[n] {
			plan.Stops = append(plan.Stops, pam.Stop{Name: s.Name, State: s.State, PID: s.PID, Started: s.Started, Target: s.Target})
		}
	}
	skips := p.skips()
	if !o.NoRestart {
		var left []Skip
		plan.Recycles, left = p.recycles(inv.Items)
		skips = append(skips, left...)
	}
	return plan, skips
}

// A planner is one PlanRestart under way. own and blocked are by service; ""
// means that nothing stands against a restart.
type planner struct {
	*graph
	updated func(Item) bool
	options PlanOptions
	own     []string // why this service itself must not be restarted
	blocked []Skip   // why it must not for another's sake
}

func (p *planner) emptyPlan() pam.RestartPlan {
	or := func(d, standard time.Duration) time.Duration {
		if d > 0 {
			return d
		}
		return standard
	}
	return pam.RestartPlan{
		Machine: p.options.Machine, Stops: []pam.Stop{}, Starts: []pam.Start{}, Recycles: []pam.Recycle{},
		StopTimeout:  or(p.options.StopTimeout, powershell.StopTimeout),
		StartTimeout: or(p.options.StartTimeout, powershell.StartTimeout),
		Settle:       or(p.options.Settle, powershell.Settle),

		KillOwnProcess: p.options.KillOwnProcess,
	}
}

// wanted reports whether service n is restarted for its own sake.
func (p *planner) wanted(n int) bool {
	s := p.services[n]
	return s.Target && active(s) && p.updated(s)
}

// chosen are the services that are stopped and started: those wanted that
// nothing stands against, and the active services that need them.
func (p *planner) chosen() []bool {
	stop := make([]bool, len(p.services))
	for n := range p.services {
		stop[n] = p.wanted(n) && p.own[n] == "" && p.blocked[n].Reason == ""
	}
	spread(stop, p.neededBy)
	for n, s := range p.services {
		stop[n] = stop[n] && active(s)
	}
	return stop
}

// judge finds everything that must not be stopped: what has a reason of its own,
// what such a service needs, and targets that share a process with one.
func (p *planner) judge() {
	p.own = make([]string, len(p.services))
	p.blocked = make([]Skip, len(p.services))
	processes := p.processes()
	var queue []int
	for n := range p.services {
		p.own[n] = p.ownReason(n)
		if p.own[n] == "" {
			p.blocked[n] = p.neighbourReason(n, processes)
		}
		if p.bad(n) {
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		block := func(m int, reason string) {
			if !p.bad(m) {
				p.blocked[m] = Skip{Reason: reason, Due: p.services[n].Name}
				queue = append(queue, m)
			}
		}
		for _, m := range p.needs[n] {
			block(m, powershell.ClassDependentsBlocked)
		}
		for _, m := range processes[p.services[n].PID] {
			if p.wanted(m) {
				block(m, p.reason(n))
			}
		}
	}
}

func (p *planner) bad(n int) bool { return p.own[n] != "" || p.blocked[n].Reason != "" }

func (p *planner) reason(n int) string {
	if p.own[n] != "" {
		return p.own[n]
	}
	return p.blocked[n].Reason
}

// processes are the services that share a process, by its id.
func (p *planner) processes() map[int][]int {
	all := map[int][]int{}
	for n, s := range p.services {
		if s.PID != 0 && !s.Own && active(s) {
			all[s.PID] = append(all[s.PID], n)
		}
	}
	return all
}

// ownReason is why service n must neither be stopped for its own sake nor for
// that of a service it needs. A stopped service has none: it is not touched.
func (p *planner) ownReason(n int) string {
	s := p.services[n]
	switch {
	case s.State == stateStopped:
		return ""
	case !active(s):
		return powershell.ClassTransitioning
	case p.options.NoRestart:
		return ReasonNoRestart
	case s.Target && !p.updated(s) && !p.holds(s):
		return ReasonNotUpdated
	case s.Skip != "": // as whom it would start again is in doubt, or its password not ours to know
		return s.Skip
	}
	return p.fixedReason(s)
}

// fixedReason is why an active service is not restarted whatever the job: what
// it is, or the policy.
func (p *planner) fixedReason(s Item) string {
	switch {
	case strings.EqualFold(s.StartMode, modeDisabled):
		return powershell.ClassDisabled
	case s.NoRestart != "":
		return s.NoRestart
	case isTransport(s.Name):
		return ReasonTransport
	case s.Clustered:
		return powershell.ClassClustered
	case !s.CanStop:
		return powershell.ClassNotStoppable
	case matches(s.Name, p.never()):
		return ReasonPolicyNever
	}
	return ""
}

// neighbourReason is why service n must not be restarted because of what is
// next to it.
func (p *planner) neighbourReason(n int, processes map[int][]int) Skip {
	s := p.services[n]
	if !active(s) {
		return Skip{}
	}
	if p.unseen[n] != "" { // nobody knows whether it could be started again
		return Skip{Reason: powershell.ClassDependentsBlocked, Due: p.unseen[n]}
	}
	for _, a := range p.needs[n] { // starting n would start it, or fail to
		if p.services[a].State == stateStopped {
			return Skip{Reason: powershell.ClassDependencyFailed, Due: p.services[a].Name}
		}
	}
	if !s.Target || s.Own || s.PID == 0 {
		return Skip{}
	}
	for _, m := range processes[s.PID] {
		if !p.services[m].Target {
			return Skip{Reason: powershell.ClassAccountDiffers, Due: p.services[m].Name}
		}
	}
	return Skip{}
}

func (p *planner) holds(i Item) bool { return p.options.Holds != nil && p.options.Holds(i) }

func (p *planner) never() []string {
	if p.options.Never == nil {
		return DefaultNever()
	}
	return p.options.Never
}

// skips are the wanted services and started pools that are left alone.
func (p *planner) skips() []Skip {
	skips := []Skip{}
	for n, s := range p.services {
		// A target between two states would have been wanted, had it been active.
		if !s.Target || s.State == stateStopped || !p.updated(s) || !p.bad(n) {
			continue
		}
		skip := p.blocked[n]
		if p.own[n] != "" {
			skip.Reason = p.own[n]
		}
		skip.Kind, skip.Name = pam.KindService, s.Name
		skips = append(skips, skip)
	}
	return skips
}

// recycles are the updated pools that have workers to replace, those that lost
// theirs since the look - a pool that stands still now may have failed to log on,
// which the machine is asked to find out - and those whose new workers would not
// come up.
func (p *planner) recycles(items []Item) ([]pam.Recycle, []Skip) {
	recycles, left := []pam.Recycle{}, []Skip{}
	for _, i := range sortedPools(items) {
		workers := p.workers(i)
		switch {
		case i.State != stateStarted && i.State != stateStopped, !i.Target, !p.updated(i), len(workers) == 0:
		case i.NoRestart != "" && i.State == stateStarted:
			left = append(left, Skip{Kind: pam.KindPool, Name: i.Name, Reason: i.NoRestart})
		default:
			recycles = append(recycles, pam.Recycle{Name: i.Name, Workers: workers})
		}
	}
	return recycles, left
}

// sortedPools are the pools by name, each once.
func sortedPools(items []Item) []Item {
	var pools []Item
	for _, i := range items {
		if i.Kind == pam.KindPool {
			pools = append(pools, i)
		}
	}
	byName := func(a, b Item) int { return strings.Compare(fold(a.Name), fold(b.Name)) }
	slices.SortStableFunc(pools, byName)
	return slices.CompactFunc(pools, func(a, b Item) bool { return byName(a, b) == 0 })
}

// workers are those of a pool from before the update. One that had none then may
// have got one with the old password since the look: those seen now count, unless
// it stands still.
func (p *planner) workers(pool Item) []int {
	workers := pool.Workers
	if pool.State == stateStopped {
		workers = nil
	}
	for name, before := range p.options.Workers {
		if fold(name) == fold(pool.Name) && len(before) > 0 {
			workers = before
		}
	}
	workers = slices.Clone(workers)
	slices.Sort(workers)
	return workers
}

// isTransport reports whether a service carries our own connection.
func isTransport(name string) bool {
	return strings.EqualFold(name, "WinRM") || strings.EqualFold(name, "sshd")
}

func matches(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return fold(name) == fold(prefix) || open && strings.HasPrefix(fold(name), fold(prefix))
	})
}
