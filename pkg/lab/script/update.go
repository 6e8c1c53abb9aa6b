package script

import (
	"context"
	"slices"
	"strings"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

// passwordRight are the codes of a logon whose password was right.
var passwordRight = []model.Errno{model.OK, 1327, 1328, 1329, model.LogonTypeNotGranted}

// logOn is one logon with the new password. It returns nil when the password is
// right, whatever else stands against the logon.
func (r *run) logOn(ctx context.Context, logonType int) (*powershell.Err, error) {
	password, err := r.secret(powershell.SecretNew)
	if err != nil {
		return nil, err
	}
	code, err := ask(ctx, func() (model.Errno, error) {
		return r.m.Logon(r.who.LogonUser, r.who.LogonDomain, password, logonType)
	})
	if err != nil {
		return nil, err
	}
	if err := r.tellProof(ctx, logonType, code); err != nil {
		return nil, err
	}
	if code == model.LogonTypeNotGranted {
		if code, err = r.grant(ctx, logonType, password); err != nil {
			return nil, err
		}
	}
	if slices.Contains(passwordRight, code) {
		return nil, nil
	}
	return codeError(code), nil
}

func (r *run) tellProof(ctx context.Context, logonType int, code model.Errno) error {
	return r.emit(ctx, powershell.Line{
		T: "proof", Type: logonType, Code: int(code), PasswordOK: slices.Contains(passwordRight, code), Granted: code == model.OK,
	})
}

// rights are what logons of a type need.
var rights = map[int]string{model.LogonBatch: "SeBatchLogonRight", model.LogonService: "SeServiceLogonRight"}

// grant gives the account a right that it lacks, when the request says so, and
// logs on once more. It returns the code of the last logon.
func (r *run) grant(ctx context.Context, logonType int, password secret.Value) (model.Errno, error) {
	right := rights[logonType]
	if !r.req.Policy.GrantRights || right == "" || len(r.who.sids) == 0 {
		return model.LogonTypeNotGranted, nil
	}
	code, err := ask(ctx, func() (model.Errno, error) { return r.m.GrantRight(r.who.sids[0], right) })
	if err != nil || code != model.OK {
		return model.LogonTypeNotGranted, err
	}
	code, err = ask(ctx, func() (model.Errno, error) {
		return r.m.Logon(r.who.LogonUser, r.who.LogonDomain, password, logonType)
	})
	if err != nil {
		return 0, err
	}
	return code, r.tellProof(ctx, logonType, code)
}

// servicePools is how many of items log on as a service does.
func (r *run) servicePools(ctx context.Context, items []powershell.ItemRef) (int, error) {
	if len(items) == 0 || !r.info.IIS {
		return 0, nil
	}
	all, err := ask(ctx, r.m.Pools)
	n := 0
	for _, i := range items {
		if p := findPool(all, i.ID); p != nil && p.LogonType == "LogonService" {
			n++
		}
	}
	return n, err
}

func (r *run) asked(kind string) []powershell.ItemRef {
	var items []powershell.ItemRef
	for _, i := range r.req.Items {
		if i.Kind == kind {
			items = append(items, i)
		}
	}
	return items
}

// update proves the password, stores it with every item, and looks again.
func (r *run) update(ctx context.Context) error {
	services, tasks, pools := r.asked(kindService), r.asked(kindTask), r.asked(kindPool)
	requests := slices.Concat(r.asked(kindVdir), r.asked(kindAnon))
	asService, err := r.servicePools(ctx, pools)
	if err != nil {
		return err
	}
	var types []int
	if len(services)+asService > 0 {
		types = append(types, model.LogonService)
	}
	if len(tasks)+len(pools)-asService > 0 {
		types = append(types, model.LogonBatch)
	}
	if len(requests) > 0 {
		types = append(types, model.LogonNetwork)
	}
	refused, err := r.proof(ctx, types)
	if err != nil {
		return err
	}
	if refused != nil {
		if err := r.rest(ctx, slices.Concat(services, pools, requests, tasks), "pending", refused); err != nil {
			return err
		}
		return r.look(ctx)
	}
	password, err := r.secret(powershell.SecretNew)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return r.updateServices(ctx, services, password) },
		func() error { return r.updateIIS(ctx, slices.Concat(pools, requests), password) },
		func() error { return r.updateTasks(ctx, tasks, password) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := r.waitPending(ctx, services); err != nil {
		return err
	}
	return r.look(ctx)
}

// arrival is how long services on their way are waited for.
const arrival = 30 * time.Second

// waitPending gives services on their way time to arrive: the fresh look then
// shows a state that their restart can be planned from.
func (r *run) waitPending(ctx context.Context, services []powershell.ItemRef) error {
	deadline := r.m.Clock().Now().Add(arrival)
	for _, i := range services {
		for {
			s, err := r.service(ctx, i.ID)
			if dead(err) {
				return err
			}
			if !strings.HasSuffix(string(s.State), "Pending") {
				break
			}
			if !r.m.Clock().Now().Before(deadline) || r.overdue() {
				return nil
			}
			if err := r.sleep(ctx, poll); err != nil {
				return err
			}
		}
	}
	return nil
}

// proof is the error of the first refused logon, or nil. After a refusal no
// other is tried: each counts towards a lockout.
func (r *run) proof(ctx context.Context, types []int) (*powershell.Err, error) {
	for _, t := range types {
		if refused, err := r.logOn(ctx, t); refused != nil || err != nil {
			return refused, err
		}
	}
	return nil, nil
}

// rest writes the same end for all items.
func (r *run) rest(ctx context.Context, items []powershell.ItemRef, status string, e *powershell.Err) error {
	for _, i := range items {
		if err := r.item(ctx, powershell.Line{Phase: "update", Kind: i.Kind, ID: i.ID, Status: status, Err: e}); err != nil {
			return err
		}
	}
	return nil
}

// guard is why an item that now runs as runAs is left alone, or "".
func guard(m *powershell.Match, runAs string, i powershell.ItemRef) string {
	if i.ExpectRunAs != "" && !strings.EqualFold(i.ExpectRunAs, runAs) {
		return powershell.ClassRunAsChanged
	}
	return refusal(m)
}

func (r *run) updateServices(ctx context.Context, items []powershell.ItemRef, password secret.Value) error {
	for _, i := range items {
		l, err := r.updateService(ctx, i, password)
		if err != nil {
			return err
		}
		if err := r.item(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) updateService(ctx context.Context, i powershell.ItemRef, password secret.Value) (powershell.Line, error) {
	began := r.m.Clock().Now()
	l := powershell.Line{Phase: "update", Kind: kindService, ID: i.ID, Status: "ok"}
	s, err := ask(ctx, func() (model.Service, error) { return r.m.Service(i.ID) })
	if dead(err) {
		return l, err
	}
	if err != nil {
		l.Status, l.Err = "failed", errorOf(err, powershell.ClassUnknown)
		return l, nil
	}
	l.Before = &powershell.ItemState{RunAs: s.StartName, State: string(s.State), StartMode: s.StartMode, PID: s.PID}
	m, err := r.match(ctx, s.StartName)
	if err != nil {
		return l, err
	}
	if m.Hit && s.Managed {
		m.Class = "managed"
	}
	if why := guard(m, s.StartName, i); why != "" {
		skip(&l, why)
		return l, nil
	}
	code, err := ask(ctx, func() (int, error) { return r.m.ChangeService(s.Name, s.StartName, password) })
	switch {
	case dead(err):
		return l, err
	case err != nil:
		l.Status, l.Err = "failed", errorOf(err, powershell.ClassUnknown)
	case code != 0:
		class, ok := changeClasses[code]
		if !ok {
			class = powershell.ClassUnknown
		}
		l.Status, l.Err = "failed", failure(class, uint32(code), "Win32_Service.Change returned %d", code) //nolint:gosec // 1 to 24
	}
	l.Ms = r.since(began)
	return l, nil
}

// stopping are the errors after which no other task is tried: each registration
// validates the password.
var stopping = []string{
	powershell.ClassRejected, powershell.ClassAccountLocked, powershell.ClassAccountDisabled,
	powershell.ClassAccountExpired, powershell.ClassAccountExpiredPW,
}

func (r *run) updateTasks(ctx context.Context, items []powershell.ItemRef, password secret.Value) error {
	if len(items) == 0 {
		return nil
	}
	if _, err := ask(ctx, r.m.Tasks); dead(err) {
		return err
	} else if err != nil {
		return r.rest(ctx, items, "failed", errorOf(err, powershell.ClassTaskServiceDown))
	}
	for n, i := range items {
		l, err := r.updateTask(ctx, i, password)
		if err != nil {
			return err
		}
		if err := r.item(ctx, l); err != nil {
			return err
		}
		if l.Err != nil && slices.Contains(stopping, l.Err.Class) {
			return r.rest(ctx, items[n+1:], "pending", l.Err)
		}
	}
	return nil
}

func (r *run) findTask(ctx context.Context, path string) (model.Task, error) {
	all, err := ask(ctx, r.m.Tasks)
	if err != nil {
		return model.Task{}, err
	}
	for _, t := range all {
		if strings.EqualFold(t.Path, path) {
			return t, nil
		}
	}
	return model.Task{}, model.NotFoundHR
}

func (r *run) updateTask(ctx context.Context, i powershell.ItemRef, password secret.Value) (powershell.Line, error) {
	began := r.m.Clock().Now()
	l := powershell.Line{Phase: "update", Kind: kindTask, ID: i.ID, Status: "ok"}
	err := r.registerTask(ctx, i, password, &l)
	if dead(err) {
		return l, err
	}
	if err != nil {
		l.Status, l.Err = "failed", errorOf(err, powershell.ClassUnknown)
	}
	l.Ms = r.since(began)
	return l, nil
}

func (r *run) registerTask(ctx context.Context, i powershell.ItemRef, password secret.Value, l *powershell.Line) error {
	t, err := r.findTask(ctx, i.ID)
	if err != nil {
		return err
	}
	p, err := model.TaskPrincipal(t.XML)
	if err != nil {
		return err
	}
	l.Before = &powershell.ItemState{RunAs: p.UserID, State: taskState(t)}
	m, err := r.match(ctx, p.UserID)
	if err != nil {
		return err
	}
	why := guard(m, p.UserID, i)
	if why == "" && !p.Stores() {
		why = powershell.ClassNoStoredPassword
	}
	if why != "" {
		skip(l, why)
		return nil
	}
	logonType := model.TaskLogonPassword
	if p.LogonType == "InteractiveTokenOrPassword" {
		logonType = model.TaskLogonInteractiveOrPassword
	}
	err = do(ctx, func() error {
		return r.m.RegisterTask(model.Registration{
			Path: t.Path, XML: t.XML, User: r.who.TaskUser, Password: password, LogonType: logonType,
			Flags: model.TaskUpdate | model.TaskDontAddPrincipalACE | model.TaskIgnoreRegistrationTriggers,
		})
	})
	if err != nil {
		return err
	}
	return r.confirmTask(ctx, t.Path, p, l)
}

// confirmTask reads the task again: its principal must be who it was.
func (r *run) confirmTask(ctx context.Context, path string, was model.Principal, l *powershell.Line) error {
	t, err := r.findTask(ctx, path)
	if err != nil {
		return err
	}
	p, err := model.TaskPrincipal(t.XML)
	if err != nil {
		return err
	}
	l.After = &powershell.ItemState{RunAs: p.UserID, State: taskState(t)}
	m, err := r.match(ctx, p.UserID)
	if err != nil {
		return err
	}
	if p.LogonType != was.LogonType || !m.Hit {
		l.Status = "failed"
		l.Err = failure(powershell.ClassUnknown, 0, "the task runs with another principal after its registration")
	}
	return nil
}
