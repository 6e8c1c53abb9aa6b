package job

import (
	"fmt"
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// approved refuses to go on when what was found is not what the plan that
// somebody approved says. Once a password is staged there is no way back.
func (r *run) approved() error {
	if r.job.Options.Approved == nil || r.job.Generation != 0 {
		return nil
	}
	drift := Drift(*r.job.Options.Approved, r.plan)
	if len(drift) == 0 {
		return nil
	}
	return pam.Errorf(pam.ErrDrift, "reality has drifted from the plan, and nothing was changed: %s", strings.Join(drift, "; ")).
		WithHint("look at it anew: keyturn pam action rotate -r %s --plan-out FILE", r.job.User)
}

// Drift says in a sentence each how now differs from the plan then in anything
// that matters: the account, where its password is decided, the machines, when
// things are restarted, and every item: as whom it runs, its state, its start
// mode and what will be done. Nothing is cut: a person has to judge all of it.
func Drift(then, now pam.Plan) []string {
	d := drift{}
	d.compare("the account", then.AccountName, now.AccountName)
	d.compare("the user", string(then.User), string(now.User))
	d.compare("the account's identity", then.Identity, now.Identity)
	d.place("the authority", then.Authority, now.Authority)
	d.compare("the rule for restarts", then.Restart, now.Restart)
	d.machines(then.Machines, now.Machines)
	d.items(then.Items, now.Items)
	return d.found
}

type drift struct{ found []string }

func (d *drift) add(format string, args ...any) {
	d.found = append(d.found, fmt.Sprintf(format, args...))
}

func (d *drift) compare(what, then, now string) {
	if then != now {
		d.add("%s was %s and is %s", what, orNone(then), orNone(now))
	}
}

func orNone(s string) string {
	if s == "" {
		return "not known"
	}
	return fmt.Sprintf("%q", s)
}

func (d *drift) place(what string, then, now pam.Place) {
	d.compare(what, string(then.Machine), string(now.Machine))
	d.compare("the address of "+what, then.Address, now.Address)
	d.compare("the machine identity of "+what, then.ID, now.ID)
}

func (d *drift) machines(then, now []pam.Place) {
	find := func(all []pam.Place, uid pam.UID) int {
		return slices.IndexFunc(all, func(p pam.Place) bool { return p.Machine == uid })
	}
	for _, p := range then {
		if n := find(now, p.Machine); n >= 0 {
			d.place("machine "+p.Title, p, now[n])
		} else {
			d.add("machine %s is in the plan and not mapped any more", p.Title)
		}
	}
	for _, p := range now {
		if find(then, p.Machine) < 0 {
			d.add("machine %s is mapped and not in the plan", p.Title)
		}
	}
}

func (d *drift) items(then, now []pam.Item) {
	current := map[itemKey]pam.Item{}
	for _, i := range now {
		current[keyOf(i)] = i
	}
	planned := map[itemKey]bool{}
	for _, i := range then {
		planned[keyOf(i)] = true
		if c, ok := current[keyOf(i)]; ok {
			d.item(i, c)
		} else {
			d.add("%s is in the plan and was not found", titleOf(i))
		}
	}
	for _, i := range now {
		if !planned[keyOf(i)] {
			d.add("%s was found and is not in the plan", titleOf(i))
		}
	}
}

func (d *drift) item(then, now pam.Item) {
	title := titleOf(then)
	d.compare(title+": the action", string(then.Action), string(now.Action))
	if !strings.EqualFold(then.Before.RunAs, now.Before.RunAs) { // Windows compares names without case
		d.compare(title+": the account it runs as", then.Before.RunAs, now.Before.RunAs)
	}
	if !idles(then) || !idles(now) {
		d.compare(title+": the state", then.Before.State, now.Before.State)
	}
	d.compare(title+": the start mode", then.Before.StartMode, now.Before.StartMode)
	if then.Action == now.Action {
		d.compare(title+": the reason", whenever(then), whenever(now))
	}
}

// idles reports whether an item is a task that may run: whether it does so at the
// moment of a look says nothing.
func idles(i pam.Item) bool {
	return i.Kind == pam.KindTask && slices.Contains([]string{"Ready", "Running", "Queued"}, i.Before.State)
}

func titleOf(i pam.Item) string { return i.MachineTitle + ": " + i.Kind.Label() + " " + i.Name }
