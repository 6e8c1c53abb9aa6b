package script

import (
	"context"
	"slices"
	"strings"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

// Kinds of items.
const (
	kindService = "service"
	kindTask    = "task"
	kindPool    = model.IISPool
	kindVdir    = model.IISDirectory
	kindAnon    = model.IISAnonymous
)

// look takes an inventory of what runs as the target. It changes nothing.
func (r *run) look(ctx context.Context) error {
	for _, k := range []struct {
		kinds []string
		look  func(context.Context) error
	}{
		{[]string{kindService}, r.lookServices},
		{[]string{kindTask}, r.lookTasks},
		{iisKinds, r.lookIIS},
		{[]string{powershell.KindReport}, r.lookReport},
	} {
		if !slices.ContainsFunc(k.kinds, func(kind string) bool { return slices.Contains(r.req.Kinds, kind) }) {
			continue
		}
		if err := k.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lookServices shows the target's services, the doubtful ones, and everything
// that depends on them, directly or not.
func (r *run) lookServices(ctx context.Context) error {
	all, err := ask(ctx, r.m.Services)
	if err != nil {
		return err
	}
	byName := map[string]model.Service{}
	var order []string
	for _, s := range all {
		byName[strings.ToUpper(s.Name)] = s
		m, err := r.match(ctx, s.StartName)
		if err != nil {
			return err
		}
		if concerns(m) && s.Type&0xC0 == 0 { // services of one user's session are no service accounts
			order = append(order, strings.ToUpper(s.Name))
		}
	}
	done := map[string]bool{}
	for i := 0; i < len(order); i++ {
		s, ok := byName[order[i]]
		if !ok || done[order[i]] {
			continue
		}
		done[order[i]] = true
		l, err := r.serviceLine(ctx, s)
		if err != nil {
			return err
		}
		if err := r.item(ctx, l); err != nil {
			return err
		}
		order = append(order, children(l)...)
	}
	return nil
}

// children are the services, in upper case, that a restart of this one would
// touch; a namesake is not restarted.
func children(l powershell.Line) []string {
	var all []string
	for _, d := range l.Children {
		if !l.Match.Namesake {
			all = append(all, strings.ToUpper(d))
		}
	}
	return all
}

func (r *run) serviceLine(ctx context.Context, s model.Service) (powershell.Line, error) {
	m, err := r.match(ctx, s.StartName)
	if err != nil {
		return powershell.Line{}, err
	}
	if m.Hit && s.Managed {
		m.Class = "managed"
	}
	l := powershell.Line{
		Phase: "look", Kind: kindService, ID: s.Name, Display: s.Display, RunAs: s.StartName, Match: m,
		State: string(s.State), StartMode: s.StartMode, PID: s.PID, Started: s.Started, CanStop: s.CanStop,
		CanPause: s.CanPause, Own: s.Type == model.OwnProcess, Depends: s.DependsOn, Children: s.Dependents, Clustered: s.Clustered,
	}
	r.explain(s.PID)
	if m.Hit || m.Ambiguous {
		skip(&l, refusal(m))
	}
	return l, nil
}

func skip(l *powershell.Line, why string) {
	if why != "" {
		l.Status, l.Reason = "skipped", why
	}
}

var taskStates = []string{"unknown", "Disabled", "Queued", "Ready", "Running"}

func taskState(t model.Task) string {
	if t.State < 0 || t.State >= len(taskStates) {
		return taskStates[0]
	}
	return taskStates[t.State]
}

func (r *run) lookTasks(ctx context.Context) error {
	all, err := ask(ctx, r.m.Tasks)
	if dead(err) {
		return err
	}
	if err != nil {
		return r.item(ctx, powershell.Line{
			Phase: "look", Kind: kindTask, ID: `\`, Status: "failed", Err: errorOf(err, powershell.ClassTaskServiceDown),
		})
	}
	for _, t := range all {
		if err := r.lookTask(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) lookTask(ctx context.Context, t model.Task) error {
	p, err := model.TaskPrincipal(t.XML)
	if err != nil {
		return r.item(ctx, powershell.Line{
			Phase: "look", Kind: kindTask, ID: t.Path, Status: "failed", Err: errorOf(err, powershell.ClassTaskXMLInvalid),
		})
	}
	if p.UserID == "" {
		return nil
	}
	m, err := r.match(ctx, p.UserID)
	if err != nil || !concerns(m) {
		return err
	}
	l := powershell.Line{
		Phase: "look", Kind: kindTask, ID: t.Path, RunAs: p.UserID, Match: m, LogonType: p.LogonType,
		Stores: p.Stores(), State: taskState(t), Warn: p.Warn,
	}
	r.explain(t.Instances...)
	why := refusal(m)
	if m.Namesake {
		why = powershell.ClassOtherAccount
	}
	if why == "" && !l.Stores {
		why = powershell.ClassNoStoredPassword
	}
	skip(&l, why)
	return r.item(ctx, l)
}

func poolState(p model.Pool) string {
	if p.State == "" {
		return "unknown"
	}
	return p.State
}
