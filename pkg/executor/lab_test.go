package executor

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A labNetwork reaches the machines of a practice domain by name, in process.
type labNetwork map[string]*model.Machine

func (n labNetwork) Dial(_ context.Context, t remote.Target) (remote.Session, error) {
	return labSession{n[t.Host]}, nil
}

type labSession struct{ *model.Machine }

func (labSession) Close() error { return nil }

func (s labSession) Run(ctx context.Context, sc remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	var out bytes.Buffer
	code := script.Answer(ctx, s.Machine, "", bytes.NewReader(in.Reveal()), &out)
	sc.OnOutput(out.Bytes())
	return remote.Result{ExitCode: code}, nil
}

// TestLabRotation does the ops of one rotation in the order of the engine, each
// request by way of its encoding.
func TestLabRotation(t *testing.T) {
	t.Parallel()
	fleet, err := model.Practice(model.PracticeOptions{
		Servers: 1, Random: rand.Reader, Clock: model.NewStepClock(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)),
	})
	if err != nil {
		t.Fatal(err)
	}
	network := labNetwork{"dc01": fleet.DC, "srv1": fleet.Servers[0]}
	e := NewEmbedded(Options{
		Dialers: map[pam.Transport]remote.Dialer{pam.WinRM: network}, Random: rand.Reader, Now: time.Now,
		Logger: slog.New(slog.DiscardHandler),
	})
	next := secret.New([]byte("N3xt-Passw0rd-1!"))
	events := 0
	do := func(id, lane string, r Request) Result {
		t.Helper()
		text, err := MarshalRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = UnmarshalRequest(text); err != nil {
			t.Fatal(err)
		}
		res, err := e.Do(t.Context(), Op{
			ID: pam.UID(id), Lane: lane, Fence: 1, Request: r, Secrets: []secret.Value{fleet.Admin, next, fleet.Service},
		}, func(Event) { events++ })
		if err != nil || !res.LoggedIn {
			t.Fatalf("%s: %+v, %v", id, res, err)
		}
		return res
	}
	at := func(host string) remote.Endpoint {
		return remote.Endpoint{Transport: pam.WinRM, Host: host, Port: 5986}
	}
	admin := Login{User: model.PracticeAdmin, Password: 0, PrivateKey: -1}
	a := Authority{Kind: pam.AuthorityWindows, Account: pam.Account{Name: "svc_app@lab.example"}, Endpoint: at("dc01"), Login: admin, Run: labRun}
	m := Machine{UID: "m1", Endpoint: at("srv1"), Login: admin}

	if facts := do("ping", "m", Ping{m, pam.AuthorityWindows}).Facts; facts.Host != "SRV1" || !facts.Elevated || facts.Language != "FullLanguage" ||
		facts.LockoutThreshold == nil || *facts.LockoutThreshold != 10 {
		t.Errorf("facts %+v", facts)
	}
	f := do("check", "a", Check{a}).Findings
	a.Account.SID, a.Account.Identity = f.Identity.SID, f.Identity.Alias
	subject := dependency.Subject{Login: a.Account.Name, Identity: f.Identity}
	kinds := []pam.DependencyKind{pam.KindService, pam.KindTask, pam.KindPool}
	inv := do("look", "m", Look{m, dependency.LookRequest{Run: labRun, Subject: subject, Kinds: kinds}}).Inventory
	if res := do("set", "a", Set{Authority: a, Next: 1, Current: 2}); res.Outcome != pam.OutcomeApplied {
		t.Fatalf("set: %+v", res)
	}
	if res := do("verify", "a", Verify{a, 1}); res.Verdict != pam.VerdictRight {
		t.Fatalf("verify: %+v", res)
	}
	u := do("update", "m", Update{m, dependency.UpdateRequest{Run: labRun, Subject: subject, Kinds: kinds, Items: inv.Items}, 1}).Update
	plan, _ := dependency.PlanRestart(u.Inventory, func(i dependency.Item) bool { return i.Target }, dependency.PlanOptions{})
	do("restart", "m", Restart{m, labRun, plan})
	if want := len(u.Results) + len(plan.Stops) + len(plan.Recycles); len(plan.Stops) == 0 || events != want {
		t.Errorf("%d events, want %d", events, want)
	}
	for _, s := range fleet.Servers[0].View().Services {
		if s.StoresSecret && !s.CredentialOK {
			t.Errorf("%+v", s)
		}
	}
	do("repair", "m", Repair{m, labRun, plan})
}

const labRun = "AAAAAAAAAAAAAAAAAAAAAA"
