package script_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

func runAs(name string) func(s *model.ServiceSpec) {
	return func(s *model.ServiceSpec) { s.StartName = name }
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	together(t, identityRows())
	for _, r := range bentIdentityRows() {
		t.Run(r.name, r.run)
	}
}

func identityRows() []row {
	one := func(title, name string) row {
		id, _, _ := strings.Cut(title, " ")
		return row{title, nil, func(w *world) { w.svc(id, model.Running, runAs(name)) }, map[string]string{id: restarted}}
	}
	return []row{
		one("I01 in another case", `corp\SVC_App`), one("I02 as a UPN", `svc_app@corp.example.com`),
		one("I03 by its domain's DNS name", `corp.example.com\svc_app`),
		{"I04 a task stored by SID is matched", nil, func(w *world) {
			w.task(`\I04`, func(s *model.TaskSpec) { s.UserID = w.sid })
		}, map[string]string{`\I04`: written}},
		{"I08 I09 builtin accounts are never touched, whatever Windows calls them", nil, func(w *world) {
			for _, n := range []string{`NT-AUTORITÄT\NETZWERKDIENST`, "LocalSystem", ""} {
				w.m.AddService(model.ServiceSpec{Name: "I08" + n, StartName: n}, model.Running)
			}
		}, map[string]string{
			`I08NT-AUTORITÄT\NETZWERKDIENST`: "Running restarts=0", "I08LocalSystem": "Running restarts=0", "I08": "Running restarts=0",
		}},
		{"I10 virtual accounts are never touched", nil, func(w *world) {
			w.m.AddService(model.ServiceSpec{Name: "I10", StartName: `NT SERVICE\I10`}, model.Running)
			w.m.AddService(model.ServiceSpec{Name: "I10b", StartName: `NT SERVICE\Nobody`}, model.Running)
			w.pool("I10", func(p *model.PoolSpec) { p.IdentityType, p.UserName = model.PoolIdentityVirtual, "" })
		}, map[string]string{"I10": "Started recycles=0", "I10b": "Running restarts=0"}},
		{"I11 a managed account is never touched", nil, func(w *world) {
			w.svc("I11", model.Running, runAs(`CORP\gapp$`))
			w.svc("I11b", model.Running, func(s *model.ServiceSpec) { s.Managed = true })
		}, map[string]string{"I11": "Running restarts=0", "I11b": "skip=managed_account Running restarts=0 old"}},
		{"I16 an orphan SID is nobody", nil, func(w *world) {
			w.task(`\I16`, func(s *model.TaskSpec) { s.UserID = "S-1-5-21-9-9-9-1234" })
		}, map[string]string{`\I16`: "Ready runs=0 old"}},
		{"I18 a name that only resembles T is never acted on", nil, func(w *world) {
			w.svc("I18", model.Running, runAs(`OLD\svc_app`))
			w.task(`\I18`, func(s *model.TaskSpec) { s.UserID = `OLD\svc_app` })
		}, map[string]string{"I18": "skip=ambiguous_identity Running restarts=0", `\I18`: "skip=ambiguous_identity Ready runs=0"}},
	}
}

// bentIdentityRows change who is who on the machine.
func bentIdentityRows() []row {
	return []row{
		{"I06 a local target is not the domain's", nil, func(w *world) {
			w.m.Local().Add(model.User{Sam: "svc_app", Password: pw(oldPassword)})
			w.local, w.login = true, `SRV1\svc_app`
			w.svc("A", model.Running, runAs(`SRV1\svc_app`))
			w.svc("B", model.Running, nil)
		}, map[string]string{"A": restarted, "B": "Running restarts=0 new"}},
		{"I07 on a domain controller a dot is the domain", func(s *model.MachineSpec) { s.Name, s.DC = "DC1", true }, func(w *world) {
			w.svc("A", model.Running, runAs(`.\svc_app`))
		}, map[string]string{"A": restarted}},
		{"I19 a renamed account is still T", nil, func(w *world) {
			w.svc("A", model.Running, runAs(`CORP\svc_old`))
			w.m.NameAs(`CORP\svc_old`, model.Named{SID: w.sid, Account: `CORP\svc_app`})
		}, map[string]string{"A": restarted}},
	}
}

func TestI05ALocalTwinIsSomebodyElseAndToldOf(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		twin := w.m.Local().Add(model.User{Sam: "svc_app", Password: pw("twin-Passw0rd")})
		w.svc("A", model.Running, func(s *model.ServiceSpec) { s.StartName, s.Password = `.\svc_app`, pw("twin-Passw0rd") })
		w.svc("B", model.Running, nil)
		// This twin needs T's service: it is restarted with it, and gets no password.
		w.svc("C", model.Running, func(s *model.ServiceSpec) {
			s.StartName, s.Password, s.DependsOn = `SRV1\svc_app`, pw("twin-Passw0rd"), []string{"B"}
		})
		w.task(`\Bare`, func(s *model.TaskSpec) { s.UserID, s.Password = "svc_app", pw("twin-Passw0rd") })
		w.rotate()
		w.check(map[string]string{
			"A": "Running restarts=0 new", "B": restarted, "C": "restart=ok Running restarts=1 new", `\Bare`: "Ready runs=0 new",
		})
		for _, want := range []string{`service "A" runs as .\svc_app`, `service "C" runs as SRV1\svc_app`, `scheduled task "\\Bare" runs as svc_app`} {
			if !slices.Contains(w.notes, want+", another account of the same name ("+twin+"), and is left alone") {
				w.t.Errorf("nobody is told of %s: %q", want, w.notes)
			}
		}
	})
}

func TestI13ToI15NamesAreOnlyNames(t *testing.T) {
	t.Parallel()
	for name, sam := range map[string]string{
		"I13 a dollar inside": "svc$app", "I14 an apostrophe and a space": "o'brien svc",
		"I15 letters outside ASCII": "szolgáltatás-ő", "I15 Cyrillic": "служба",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, nil, func(w *world) {
				w.domain.Rename("svc_app", sam)
				w.login = `CORP\` + sam
				w.svc("A", model.Running, runAs(w.login))
				w.task(`\T`, func(s *model.TaskSpec) { s.UserID = w.login })
				w.pool("P", func(p *model.PoolSpec) { p.UserName = strings.ToUpper(w.login) })
				if code := w.domain.Reset(sam, pw(newPassword)); code != model.OK {
					w.t.Fatal(code)
				}
				if err := w.apply(); err != nil {
					w.t.Fatal(err)
				}
				w.check(map[string]string{"A": restarted, `\T`: written, "P": "update=ok restart=noop/already_recycled Started recycles=1 new"})
				if i := slices.IndexFunc(w.out.Bytes(), func(b byte) bool { return b > 126 }); i >= 0 {
					w.t.Errorf("byte %d of the answer is not ASCII", i)
				}
			})
		})
	}
}

func TestI17WithoutADomainControllerNamesDecide(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("Same", model.Running, nil)
		w.svc("Like", model.Running, runAs(`OLD\svc_app`))
		w.m.LoseDomain()
		inv, err := w.look()
		if err != nil {
			w.t.Fatal(err)
		}
		got := map[string]string{}
		for _, i := range inv.Items {
			got[i.Name] = i.Skip
		}
		if got["Same"] != "" || got["Like"] != "ambiguous_identity" || len(got) != 2 {
			w.t.Fatalf("%v", got)
		}
		if !strings.Contains(w.out.String(), `"by":"name"`) {
			w.t.Errorf("nothing says that the name decided: %s", w.out.String())
		}
	})
}

func TestI20ACloudAccountIsKnownAndRefused(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		const sid = "S-1-12-1-1111111111-2222222222-3333333333-444444444"
		w.m.NameAs(`AzureAD\anna`, model.Named{SID: sid, Account: `AzureAD\anna`})
		w.sid, w.login = sid, `AzureAD\anna`
		w.svc("A", model.Running, runAs(w.login))
		inv, err := w.look()
		if err != nil || inv.Subject.Class != "user" || inv.Subject.Scope != "entra" || len(inv.Items) != 1 {
			w.t.Fatalf("%+v %v", inv, err)
		}
		w.forget()
		events := len(w.m.Events())
		_, err = w.host().Update(w.t.Context(), dependency.UpdateRequest{
			Run: run, Subject: w.subject(), Kinds: allKinds, Items: inv.Items,
		}, secret.New([]byte(newPassword)), w.hear)
		if f, ok := errors.AsType[*powershell.FatalError](err); !ok || f.Class != powershell.ClassInvalidAccount || !powershell.NothingRan(err) {
			w.t.Errorf("refused with %v", err)
		}
		if len(w.m.Events()) != events {
			w.t.Errorf("something happened all the same: %v", w.m.Events()[events:])
		}
	})
}
