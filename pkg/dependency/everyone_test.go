package dependency_test

import (
	"crypto/rand"
	"regexp"
	"testing"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

func TestALookAtEveryoneNamesOwners(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1) // SRV2 spells the account as a principal name
	h := l.open(t)
	inv, err := h.Look(t.Context(), dependency.LookRequest{Everyone: true, Kinds: []pam.DependencyKind{pam.KindService, pam.KindTask, pam.KindPool}})
	if err != nil {
		t.Fatal(err)
	}
	who := map[string]pam.Owner{}
	for _, i := range inv.Items {
		who[string(i.Kind)+" "+i.Name] = *i.Owner
		if i.Owner.Class == "managed" && i.Target {
			t.Errorf("%s %s would be given a password", i.Kind, i.Name)
		}
	}
	domain := who["service OrdersApi"]
	if domain.Name != `LAB\svc_app` || domain.Scope != "domain" || domain.Class != "user" || domain.SID == "" {
		t.Errorf("OrdersApi runs as %+v", domain)
	}
	for name, want := range map[string]string{
		"service OrdersImport": domain.SID, `task \Orders\Nightly export`: domain.SID, "iis_pool Orders": domain.SID,
		`task \Orders\Cleanup`: domain.SID,
	} {
		if who[name].SID != want {
			t.Errorf("%s runs as %+v", name, who[name])
		}
	}
	if twin := who["service Scanner"]; twin.Scope != "local" || twin.Name != `SRV2\svc_app` || twin.SID == domain.SID {
		t.Errorf("the local account of the same name is %+v", twin)
	}
	if who["service Ledger"].Class != "managed" || who["service Reports"].Name != `LAB\svc_reports` {
		t.Errorf("got %+v and %+v", who["service Ledger"], who["service Reports"])
	}
	for _, none := range []string{"service Spooler", "service OrdersMonitor", "service OrdersCache", "service Telemetry", "iis_pool DefaultAppPool"} {
		if o, ok := who[none]; ok {
			t.Errorf("%s has the owner %+v", none, o)
		}
	}
}

func TestAPingTellsWhatTheMachineIs(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0)
	f, err := dependency.Ping(t.Context(), l, remote.Target{}, dependency.Options{Random: rand.Reader, Now: l.srv.Now})
	if err != nil || f.Host != "SRV1" || f.Domain != "LAB" || f.User != model.PracticeAdmin || !f.IIS || !f.Elevated || f.PowerShell == "" ||
		f.LockoutThreshold == nil || *f.LockoutThreshold != 10 {
		t.Errorf("%+v, %v", f, err)
	}
	l.srv = model.NewMachine(model.MachineSpec{Name: "LOCKED", Clock: model.NewStepClock(l.srv.Now()), Constrained: true, Session: "x"})
	if f, err = dependency.Ping(t.Context(), l, remote.Target{}, dependency.Options{Random: rand.Reader, Now: l.srv.Now}); err != nil || f.Language != "ConstrainedLanguage" {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestAnOwnerIsWhatItsSIDSays(t *testing.T) {
	t.Parallel()
	const sid = "S-1-5-21-1-2-3-1104"
	for _, c := range []struct {
		name  string
		match powershell.Match
		want  pam.Owner
	}{
		{"a user", powershell.Match{Class: "user", SID: sid, Name: `A\b`, Scope: "domain"}, pam.Owner{Class: "user", SID: sid, Name: `A\b`, Scope: "domain"}},
		{"a SID in small letters", powershell.Match{Class: "user", SID: "s-1-5-21-1-2-3-1104"}, pam.Owner{Class: "user", SID: sid}},
		{"a SID that is none", powershell.Match{Class: "user", SID: "S-1-5-21-*", Name: `A\b`}, pam.Owner{Class: "unresolved"}},
		{"no SID", powershell.Match{Class: "user", Name: `A\b`}, pam.Owner{Class: "unresolved"}},
		{"a class that is none", powershell.Match{Class: "<b>", SID: sid}, pam.Owner{Class: "unresolved", SID: sid}},
	} {
		if got := dependency.OwnerOf(c.match); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// A machine may say anything of who owns what: an owner's SID is one, or there is none.
func FuzzOwners(f *testing.F) {
	f.Add([]byte("#WSX {\"t\":\"item\",\"n\":\"NONCE\",\"phase\":\"look\",\"kind\":\"service\",\"id\":\"App\",\"match\":{\"hit\":true,\"class\":\"user\"," +
		"\"sid\":\"S-1-5-21-1\",\"name\":\"A\\\\b\\u202e\",\"scope\":\"domain\"}}\n#WSX {\"t\":\"bye\",\"n\":\"NONCE\"}\n"))
	f.Add([]byte("#WSX {\"t\":\"item\",\"n\":\"NONCE\",\"phase\":\"look\",\"kind\":\"task\",\"id\":\"\\\\\",\"status\":\"failed\"}\n#WSX {\"t\":\"bye\",\"n\":\"NONCE\"}\n"))
	f.Add([]byte("#WSX {\"t\":\"hello\",\"n\":\"NONCE\",\"host\":\"\\u001b[2J\",\"ps\":\"5\"}\n#WSX {\"t\":\"machine\",\"n\":\"NONCE\",\"lockoutThreshold\":-1}\n" +
		"#WSX {\"t\":\"bye\",\"n\":\"NONCE\"}\n"))
	sid := regexp.MustCompile(`\AS-1(-[0-9]+)+\z`)
	f.Fuzz(func(t *testing.T, output []byte) {
		o := dependency.Options{Random: rand.Reader, Now: time.Now}
		h, err := dependency.Open(t.Context(), hostile(output), remote.Target{}, o)
		if err != nil {
			t.Fatal(err)
		}
		inv, err := h.Look(t.Context(), dependency.LookRequest{Everyone: true, Kinds: allKinds})
		if err != nil && len(inv.Items) > 0 {
			t.Errorf("items of a failed look: %+v", inv.Items)
		}
		for _, i := range inv.Items {
			switch {
			case i.Owner == nil && !i.Unreadable:
				t.Errorf("nobody owns %+v", i)
			case i.Owner != nil && (i.Owner.SID != "" && !sid.MatchString(i.Owner.SID) || i.Owner.SID == "" && i.Owner.Class != "unresolved" || !printable(i.Owner.Name)):
				t.Errorf("unusable owner %+v", *i.Owner)
			}
		}
		facts, err := dependency.Ping(t.Context(), hostile(output), remote.Target{}, o)
		if err == nil && (!printable(facts.Host+facts.User+facts.OS+facts.PowerShell+facts.Language) || facts.LockoutThreshold != nil && *facts.LockoutThreshold < 0) {
			t.Errorf("unusable facts %+v", facts)
		}
	})
}
