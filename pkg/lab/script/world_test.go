package script_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir, err := shared(); err == nil {
			_ = os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}

const (
	oldPassword = "0ld-Passw0rd-canary"
	newPassword = "N3w-Passw0rd-canary"
	run         = pam.UID("0123456789abcdefABCDEF")
)

func pw(s string) secret.Value { return secret.New([]byte(s)) }

// A world is domain CORP, its account CORP\svc_app (T) and the machine SRV1.
type world struct {
	t       testing.TB
	side    runner // who answers for the machine
	clock   *model.StepClock
	domain  *model.Domain
	m       *model.Machine
	sid     string
	next    string
	login   string // the subject
	local   bool
	dir     string
	process context.Context // of the script: ending it kills it
	cancel  context.CancelFunc
	out     bytes.Buffer // all that ever came out of the machine
	errs    bytes.Buffer // what an engine said beside its answers
	results map[string][]string
	skips   map[string]string
	held    map[string]string // tasks that take the password and would not run with it
	notes   []string
	options dependency.PlanOptions
	grant   bool
	plan    pam.RestartPlan
	doubt   doubt
	runAs   map[string]string     // as whom services ran before: a new password changes no name
	tasks   map[string]model.Task // as they were before
	carried int                   // secrets in the last frame
}

func newWorld(tb testing.TB, change func(s *model.MachineSpec)) *world {
	tb.Helper()
	return newDoubtfulWorld(tb, doubt{}, change)
}

// newDoubtfulWorld is a world in which a doubtful fact is as d has it.
func newDoubtfulWorld(tb testing.TB, d doubt, change func(s *model.MachineSpec)) *world {
	tb.Helper()
	w := &world{
		t: tb, doubt: d, side: twin{}, clock: model.NewStepClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)), next: newPassword, login: `CORP\svc_app`,
		process: context.Background(), cancel: func() {},
	}
	policy := model.Policy{LockoutThreshold: 5, HistoryGrace: true}
	if d.policy != nil {
		d.policy(&policy)
	}
	w.domain = model.NewDomain("CORP", "corp.example.com", policy)
	w.domain.Add(model.User{Sam: "admin", Password: pw("admin-Passw0rd")})
	w.sid = w.domain.Add(model.User{Sam: "svc_app", RID: 1105, Password: pw(oldPassword)})
	w.domain.Add(model.User{Sam: "other", Password: pw("other-Passw0rd")})
	w.domain.Add(model.User{Sam: "gapp$", Password: pw("managed-Passw0rd"), Managed: true})
	spec := model.MachineSpec{Name: "SRV1", Clock: w.clock, Domain: w.domain, Session: `CORP\admin`, Readings: d.machine, Policy: model.Policy{OldAccepted: policy.OldAccepted}}
	if change != nil {
		change(&spec)
	}
	w.m = model.NewMachine(spec)
	return w
}

// svc adds a service of T with the old password; change may make it another's.
func (w *world) svc(name string, state model.State, change func(s *model.ServiceSpec)) {
	s := model.ServiceSpec{Name: name, StartName: `CORP\svc_app`, Password: pw(oldPassword)}
	if change != nil {
		change(&s)
	}
	w.m.AddService(s, state)
}

// dep adds a LocalSystem service that needs another.
func (w *world) dep(name, needs string, state model.State) {
	w.m.AddService(model.ServiceSpec{Name: name, DependsOn: []string{needs}, CanPause: true}, state)
}

func (w *world) task(path string, change func(t *model.TaskSpec)) {
	s := model.TaskSpec{Path: path, UserID: `CORP\svc_app`, Password: pw(oldPassword)}
	if change != nil {
		change(&s)
	}
	w.m.AddTask(s)
}

func (w *world) pool(name string, change func(p *model.PoolSpec)) {
	s := model.PoolSpec{
		Name: name, IdentityType: model.PoolSpecificUser, UserName: `CORP\svc_app`, Password: pw(oldPassword), Workers: 1,
	}
	if change != nil {
		change(&s)
	}
	w.m.AddPool(s)
}

// Dial logs in at once: the transport is not what these tests are about.
func (w *world) Dial(context.Context, remote.Target) (remote.Session, error) { return w, nil }

// Close does nothing.
func (w *world) Close() error { return nil }

// Run is the machine's side of a session: the frame goes to whoever answers for it.
func (w *world) Run(_ context.Context, s remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	out, code, err := w.send(s.Line, in)
	s.OnOutput(out)
	if err != nil {
		return remote.Result{}, &remote.Error{Kind: pam.ErrIO, Op: "read output", Err: err, Sent: true}
	}
	return remote.Result{Stdout: out, ExitCode: code}, nil
}

func (w *world) subject() dependency.Subject {
	s := dependency.Subject{Login: w.login, Identity: pam.Identity{Alias: w.sid, SID: w.sid, Name: w.login}, Local: w.local}
	if w.local {
		u, _ := w.m.Local().User(w.login[strings.Index(w.login, `\`)+1:])
		info, _ := w.m.Info()
		s.Identity = pam.Identity{Alias: info.GUID + "/" + u.SID, SID: u.SID, Name: w.login}
	}
	return s
}

var allKinds = []pam.DependencyKind{pam.KindService, pam.KindTask, pam.KindPool}

func (w *world) host() dependency.Host {
	w.t.Helper()
	h, err := dependency.Open(context.Background(), w, remote.Target{}, dependency.Options{
		Random: rand.NewChaCha8([32]byte{7}), Now: w.clock.Now,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) look() (dependency.Inventory, error) {
	return w.host().Look(context.Background(), dependency.LookRequest{Run: run, Subject: w.subject(), Kinds: allKinds})
}

func (w *world) hear(r dependency.ItemResult) {
	text := string(r.Phase) + "=" + string(r.Status)
	switch {
	case r.Error != nil:
		text += "/" + r.Error.Class
	case r.Reason != "":
		text += "/" + r.Reason
	}
	w.results[r.Name] = append(w.results[r.Name], text)
}

// reset gives T the new password at its authority.
func (w *world) reset() {
	w.t.Helper()
	sam := w.domain.SAM
	if w.local {
		sam = w.m.Local()
	}
	if code := sam.Reset("svc_app", pw(w.next)); code != model.OK {
		w.t.Fatal("reset:", code)
	}
}

// apply is what a rotation does to one machine after the password changed:
// look, update, plan, restart.
func (w *world) apply() error {
	w.t.Helper()
	w.forget()
	before, err := w.look()
	if err != nil {
		return err
	}
	return w.applyTo(before)
}

// forget begins another visit: what is there now is what was there before.
func (w *world) forget() {
	w.results, w.skips, w.held = map[string][]string{}, map[string]string{}, map[string]string{}
	w.runAs, w.tasks, w.notes = map[string]string{}, map[string]model.Task{}, nil
	for _, s := range w.m.View().Services {
		w.runAs[s.Name] = s.RunAs
	}
	tasks, err := w.m.Tasks()
	if err != nil {
		return // a scheduler that does not answer changes none
	}
	for _, task := range tasks {
		w.tasks[task.Path] = task
	}
}

func (w *world) applyTo(before dependency.Inventory) error {
	w.t.Helper()
	h := w.host()
	workers := map[string][]int{}
	for _, i := range before.Items {
		workers[i.Name] = i.Workers
		if i.Skip != "" {
			w.skips[i.Name] = i.Skip
		}
	}
	u, err := h.Update(context.Background(), dependency.UpdateRequest{
		Run: run, Subject: w.subject(), Kinds: allKinds, Items: before.Items, GrantRights: w.grant,
	}, pw(w.next), w.hear)
	w.notes = append(before.Warnings, u.Inventory.Warnings...)
	if err != nil {
		return err
	}
	for _, i := range u.Inventory.Items {
		if i.Kind == pam.KindTask && i.NoRestart != "" {
			w.held[i.Name] = i.NoRestart
		}
	}
	fresh := map[string]bool{}
	for _, r := range u.Results {
		fresh[string(r.Kind)+r.Name] = r.Status == pam.StatusOK
	}
	w.options.Workers = workers
	plan, skips := dependency.PlanRestart(u.Inventory, func(i dependency.Item) bool { return fresh[string(i.Kind)+i.Name] }, w.options)
	for _, s := range skips {
		w.skips[s.Name] = s.Reason
	}
	w.plan = plan
	if plan.Empty() {
		return nil
	}
	return h.Restart(context.Background(), run, plan, w.hear)
}

// summary is one line an item: what was reported of it, and what became of it.
func (w *world) summary() map[string]string {
	all := map[string]string{}
	add := func(name, state string) {
		words := slices.Compact(slices.Clone(w.results[name])) // a failed start is told at once, and again in the end
		if s := w.skips[name]; s != "" {
			words = append(words, "skip="+s)
		}
		if s := w.held[name]; s != "" {
			words = append(words, "held="+s)
		}
		all[name] = strings.Join(append(words, state), " ")
	}
	holds := func(needs, ok bool) string {
		switch {
		case !needs:
			return ""
		case ok:
			return " new"
		default:
			return " old"
		}
	}
	v := w.m.View()
	for _, s := range v.Services {
		add(s.Name, fmt.Sprintf("%s restarts=%d%s", s.State, s.Restarts, holds(s.StoresSecret, s.CredentialOK)))
	}
	for _, s := range v.Tasks {
		add(s.Path, fmt.Sprintf("%s runs=%d%s", s.State, s.Runs, holds(s.StoresSecret, s.CredentialOK)))
	}
	for _, s := range v.Pools {
		add(s.Name, fmt.Sprintf("%s recycles=%d%s", s.State, s.Recycles, holds(s.StoresSecret, s.CredentialOK)))
	}
	return all
}

// check compares the summary of every item of the machine; expected columns are
// exhaustive.
func (w *world) check(want map[string]string) {
	w.t.Helper()
	for name := range w.summary() {
		if _, ok := want[name]; !ok {
			w.t.Errorf("item %s is not expected", name)
		}
	}
	w.checkSome(w.t, want)
}

// checkSome is check where other scenarios share the machine.
func (w *world) checkSome(tb testing.TB, want map[string]string) {
	tb.Helper()
	got := w.summary()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch _, ok := got[name]; {
		case !ok:
			tb.Errorf("no item %s", name)
		case got[name] != want[name]:
			tb.Errorf("%s\n got %s\nwant %s", name, got[name], want[name])
		}
		w.checkTask(tb, name)
		if was, ok := w.runAs[name]; ok && w.m.View().Service(name).RunAs != was {
			tb.Errorf("%s ran as %s, and is stored as %s", name, was, w.m.View().Service(name).RunAs)
		}
	}
	if bytes.Contains(w.out.Bytes(), []byte("canary")) || bytes.Contains(w.errs.Bytes(), []byte("canary")) {
		tb.Error("a password came out of the machine")
	}
	if strings.Contains(journal(w.dir), "canary") {
		tb.Error("a password is in the journal")
	}
	if w.errs.Len() > 0 {
		tb.Errorf("the engine said %s", w.errs.String())
	}
}

// checkTask sees to it that a task is what it was, but for who runs it.
func (w *world) checkTask(tb testing.TB, path string) {
	tb.Helper()
	was, ok := w.tasks[path]
	if !ok {
		return
	}
	tasks, err := w.m.Tasks()
	i := slices.IndexFunc(tasks, func(t model.Task) bool { return t.Path == path })
	if err != nil || i < 0 || tasks[i].XML == was.XML && tasks[i].Descriptor == was.Descriptor {
		return
	}
	before, beforeErr := model.TaskPrincipal(was.XML)
	after, afterErr := model.TaskPrincipal(tasks[i].XML)
	if beforeErr != nil || afterErr != nil || before.LogonType != after.LogonType {
		tb.Errorf("%s: its logon type was %s and is %s (%v, %v)", path, before.LogonType, after.LogonType, beforeErr, afterErr)
	}
	if anonymous(was.XML) != anonymous(tasks[i].XML) {
		tb.Errorf("%s: more than its principal changed:\n%s\n%s", path, was.XML, tasks[i].XML)
	}
	if was.Descriptor != tasks[i].Descriptor {
		tb.Errorf("%s: its descriptor was %s and is %s", path, was.Descriptor, tasks[i].Descriptor)
	}
}

// anonymous is task XML without its principals' names.
func anonymous(xml string) string {
	return regexp.MustCompile(`<UserId>[^<]*</UserId>`).ReplaceAllString(xml, "<UserId/>")
}

// journal is what the script wrote into its journal, "" when there is none.
func journal(dir string) string {
	if dir == "" {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(dir, string(run)+".ndjson"))
	if err != nil {
		return ""
	}
	return string(b)
}
