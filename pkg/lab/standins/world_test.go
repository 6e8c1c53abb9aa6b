package standins_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/lab/standins"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

const (
	oldPassword = "0ld-Passw0rd-canary"
	newPassword = "N3w-Passw0rd-canary"
	jobID       = pam.UID("0123456789abcdefABCDEF")
)

func pw(s string) secret.Value { return secret.New([]byte(s)) }

// A world is the account CORP\svc_app (T) and the machine SRV1, whose script is
// answered by the lab itself or by the shipped one in an engine.
type world struct {
	t       *testing.T
	clock   *model.StepClock
	domain  *model.Domain
	m       *model.Machine
	sid     string
	engine  *host // nil: the lab's own answers
	out     bytes.Buffer
	results map[string][]string
	skips   map[string]string
}

// A row is one acceptance scenario: a machine, and what becomes of everything on
// it when T's password has changed. Expected columns are exhaustive.
type row struct {
	name  string
	build func(w *world)
	want  map[string]string
}

// playRows plays every row twice, so that the lab and the scripts cannot drift
// apart.
func playRows(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(w *world) {
				r.build(w)
				w.rotate()
				w.apply()
				w.check(r.want)
			})
		})
	}
}

// both runs a test on the lab's own answers, then on the scripts.
func both(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Run("lab", func(t *testing.T) { test(newWorld(t)) })
	t.Run("scripts", func(t *testing.T) {
		engine := os.Getenv("KEYTURN_PWSH")
		if engine == "" {
			t.Skip("KEYTURN_PWSH names no PowerShell engine that takes stand-ins")
		}
		w := newWorld(t)
		w.engine = &host{engine: engine, folder: t.TempDir(), data: t.TempDir(), language: "full", socket: w.serve()}
		if err := standins.WriteTo(w.engine.folder); err != nil {
			t.Fatal(err)
		}
		test(w)
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: model.NewStepClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))}
	w.domain = model.NewDomain("CORP", "corp.example.com", model.Policy{LockoutThreshold: 5, HistoryGrace: true})
	w.domain.Add(model.User{Sam: "admin", Password: pw("admin-Passw0rd")})
	w.sid = w.domain.Add(model.User{Sam: "svc_app", RID: 1105, Password: pw(oldPassword)})
	w.domain.Add(model.User{Sam: "neighbour", Password: pw("other-Passw0rd")})
	w.m = model.NewMachine(model.MachineSpec{Name: "SRV1", Clock: w.clock, Domain: w.domain, Session: `CORP\admin`})
	return w
}

// serve lets the stand-ins reach the model, until the test ends.
func (w *world) serve() (socket string) {
	w.t.Helper()
	dir, err := os.MkdirTemp("", "kts") // the path of a socket must be short
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	var lc net.ListenConfig
	l, err := lc.Listen(w.t.Context(), "unix", socket)
	if err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { ended <- w.m.ServeListener(ctx, l) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	return socket
}

func (w *world) svc(name string, state model.State, change func(s *model.ServiceSpec)) {
	s := model.ServiceSpec{Name: name, StartName: `CORP\svc_app`, Password: pw(oldPassword)}
	if change != nil {
		change(&s)
	}
	w.m.AddService(s, state)
}

func (w *world) pool(name string, change func(p *model.PoolSpec)) {
	s := model.PoolSpec{Name: name, IdentityType: model.PoolSpecificUser, UserName: `CORP\svc_app`, Password: pw(oldPassword), Workers: 1}
	if change != nil {
		change(&s)
	}
	w.m.AddPool(s)
}

// Dial logs in at once: the transport is not what these tests are about.
func (w *world) Dial(context.Context, remote.Target) (remote.Session, error) { return w, nil }

// Close does nothing.
func (*world) Close() error { return nil }

// Run is the machine's side of a session.
func (w *world) Run(ctx context.Context, s remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	if w.engine != nil {
		r, err := w.engine.Run(ctx, s, in)
		w.out.Write(r.Stdout)
		w.out.Write(r.Stderr)
		return r, err
	}
	var out bytes.Buffer
	code := script.Answer(ctx, w.m, "", bytes.NewReader(in.Reveal()), &out)
	w.out.Write(out.Bytes())
	s.OnOutput(out.Bytes())
	if code == script.ExitKilled {
		return remote.Result{}, errors.New("the script was killed")
	}
	return remote.Result{Stdout: out.Bytes(), ExitCode: code}, nil
}

func (w *world) host() dependency.Host {
	w.t.Helper()
	h, err := dependency.Open(w.t.Context(), w, remote.Target{}, dependency.Options{Random: rand.Reader, Now: w.clock.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (*world) login() string { return `CORP\svc_app` }

func (w *world) subject() dependency.Subject {
	return dependency.Subject{Login: w.login(), Identity: pam.Identity{Alias: w.sid, SID: w.sid, Name: w.login()}}
}

func (w *world) look(kinds pam.MappingKinds) dependency.Inventory {
	w.t.Helper()
	inv, err := w.host().Look(w.t.Context(), dependency.LookRequest{Run: jobID, Subject: w.subject(), Kinds: kinds.Dependencies()})
	if err != nil {
		w.t.Fatal(err)
	}
	return inv
}

// rotate gives T the new password at its domain.
func (w *world) rotate() {
	w.t.Helper()
	if code := w.domain.Reset("svc_app", pw(newPassword)); code != model.OK {
		w.t.Fatal(code)
	}
}

func (w *world) hear(r dependency.ItemResult) {
	text := string(r.Phase) + "=" + string(r.Status)
	switch {
	case r.Error != nil:
		text += "/" + r.Error.Class
	case r.Reason != "":
		text += "/" + r.Reason
	}
	if r.Error != nil && strings.Contains(r.Error.Message, "WAS event 5059") {
		text += "/5059"
	}
	w.results[r.Name] = append(w.results[r.Name], text)
}

// apply is what a rotation does to one machine after the password changed:
// look, update, plan, restart.
func (w *world) apply() {
	w.t.Helper()
	w.results, w.skips = map[string][]string{}, map[string]string{}
	before := w.look(pam.MapAll)
	workers := map[string][]int{}
	for _, i := range before.Items {
		if i.Kind == pam.KindPool {
			workers[i.Name] = i.Workers
		}
		if i.Skip != "" {
			w.skips[i.Name] = i.Skip
		}
	}
	u, err := w.host().Update(w.t.Context(), dependency.UpdateRequest{
		Run: jobID, Subject: w.subject(), Kinds: pam.MapAll.Dependencies(), Items: before.Items,
	}, pw(newPassword), w.hear)
	if err != nil {
		w.t.Fatal(err)
	}
	fresh := map[string]bool{}
	for _, r := range u.Results {
		fresh[string(r.Kind)+r.Name] = r.Status == pam.StatusOK
	}
	plan, skips := dependency.PlanRestart(u.Inventory, func(i dependency.Item) bool { return fresh[string(i.Kind)+i.Name] },
		dependency.PlanOptions{Workers: workers, Settle: 100 * time.Millisecond})
	for _, s := range skips {
		w.skips[s.Name] = s.Reason
	}
	if plan.Empty() {
		return
	}
	if err := w.host().Restart(w.t.Context(), jobID, plan, w.hear); err != nil {
		w.t.Fatal(err)
	}
}

// summary is one line an item: what was reported of it, and what became of it.
func (w *world) summary() map[string]string {
	all := map[string]string{}
	add := func(name, state string, needs, ok, inherits bool) {
		words := slices.Compact(slices.Clone(w.results[name]))
		if s := w.skips[name]; s != "" {
			words = append(words, "skip="+s)
		}
		if words = append(words, state); needs {
			words = append(words, map[bool]string{true: "new", false: "old"}[ok])
		}
		if inherits {
			words = append(words, "inherits")
		}
		all[name] = strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
	}
	v := w.m.View()
	for _, s := range v.Services {
		add(s.Name, fmt.Sprintf("%s restarts=%d", s.State, s.Restarts), s.StoresSecret, s.CredentialOK, false)
	}
	for _, p := range v.Pools {
		add(p.Name, fmt.Sprintf("%s recycles=%d", p.State, p.Recycles), p.StoresSecret, p.CredentialOK, p.Inherits)
	}
	for _, p := range slices.Concat(v.Directories, v.Anonymous) {
		add(p.Name, "", p.StoresSecret, p.CredentialOK, p.Inherits)
	}
	for name, words := range w.results { // of what the view has no line for: defaults
		if _, ok := all[name]; !ok {
			all[name] = strings.Join(words, " ")
		}
	}
	return all
}

func (w *world) check(want map[string]string) {
	w.t.Helper()
	got := w.summary()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Error(diff)
	}
	if bytes.Contains(w.out.Bytes(), []byte("canary")) {
		w.t.Error("a password came out of the machine")
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if name == "" {
			w.t.Error("something without a name")
		}
	}
}
