package standins_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyturn/pkg/powershell"
)

func TestLookFindsByIdentity(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.services = map[string]*service{
		"AppSvc":   running(`corp\SVC_App`, 800),
		"Upn":      running("svc_app@corp.example.com", 801),
		"Twin":     running(`.\svc_app`, 802),
		"Orphan":   running(`OLD\svc_app`, 803),
		"Web":      running(`CORP\another`, 804, "AppSvc"),
		"Cache":    {StartName: `NT AUTHORITY\LocalService`, State: "Stopped", StartMode: "Manual", Type: 32, DependsOn: []string{"Web"}},
		"Stranger": running(`CORP\another`, 805),
		"System":   running("LocalSystem", 806),
		"PerUser":  {StartName: `CORP\svc_app`, State: "Running", StartMode: "Auto", PID: 807, Type: 0xD0},
	}
	f.services["AppSvc"].Display = "Dienst \"Ä\" 'x' 服务 #WSX {\"t\":\"bye\"}"
	h := newHost(t, f)
	a := h.must(t, powershell.Request{Op: powershell.OpLook, Target: target(), Kinds: []string{"service"}})
	if a.Account == nil || a.Account.SID != userSID || a.Account.Name != `CORP\svc_app` || a.Account.Class != "user" || a.Account.Scope != "domain" ||
		a.Account.SelfRotation || a.Account.StatusKnown {
		t.Errorf("account %+v", a.Account)
	}
	if a.Machine.LockoutThreshold == nil || *a.Machine.LockoutThreshold != 5 {
		t.Errorf("threshold %v", a.Machine.LockoutThreshold)
	}
	app := find(a, "look", "AppSvc")
	if app.Match == nil || !app.Match.Hit || app.Match.By != "sid" || app.RunAs != `corp\SVC_App` || app.Display != f.services["AppSvc"].Display ||
		app.State != "Running" || app.PID != 800 || app.Started != "2026-05-01T08:00:20Z" || !app.CanStop || !app.Own ||
		len(app.Children) != 1 || app.Children[0] != "Web" {
		t.Errorf("AppSvc %+v", app)
	}
	for id, want := range map[string]string{"Upn": "hit", "Twin": "namesake", "Orphan": "ambiguous", "Web": "dependent", "Cache": "dependent", "Stranger": "", "System": "", "PerUser": ""} {
		l := find(a, "look", id)
		got := ""
		switch {
		case l.Match == nil:
		case l.Match.Ambiguous && l.Status == "skipped" && l.Reason == powershell.ClassAmbiguous:
			got = "ambiguous"
		case l.Match.Namesake:
			got = "namesake"
		case l.Match.Hit:
			got = "hit"
		default:
			got = "dependent"
		}
		if got != want {
			t.Errorf("%s is %q, want %q: %+v", id, got, want, l)
		}
	}
	if len(f.calls)+len(f.logons) != 0 {
		t.Errorf("a look changed something: %v %v", f.calls, f.logons)
	}
}

func TestALookAtEveryoneSaysWhoRunsWhat(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.services = map[string]*service{
		"AppSvc": running(`corp\SVC_App`, 800), "Upn": running("svc_app@corp.example.com", 801), "Twin": running(`.\svc_app`, 802),
		"Orphan": running(`OLD\svc_app`, 803), "Managed": running(`CORP\gapp$`, 804), "System": running("LocalSystem", 805),
		"Local":   running(`NT AUTHORITY\LocalService`, 807),
		"PerUser": {StartName: `CORP\svc_app`, State: "Running", StartMode: "Auto", PID: 808, Type: 0xD0},
	}
	h := newHost(t, f)
	a := h.must(t, powershell.Request{Op: powershell.OpLook, Kinds: []string{"service"}})
	if a.Account != nil || a.Machine.LockoutThreshold == nil || *a.Machine.LockoutThreshold != 5 {
		t.Errorf("account %+v, threshold %v", a.Account, a.Machine.LockoutThreshold)
	}
	want := map[string]powershell.Match{
		"AppSvc": {Hit: true, By: "sid", Class: "user", SID: userSID, Name: `CORP\svc_app`, Scope: "domain"},
		"Upn":    {Hit: true, By: "sid", Class: "user", SID: userSID, Name: `CORP\svc_app`, Scope: "domain"},
		"Orphan": {Hit: true, By: "none", Class: "unresolved"},
		"System": {}, "Virtual": {}, "Local": {}, "PerUser": {},
	}
	for id, m := range want {
		got := powershell.Match{}
		if l := find(a, "look", id); l.Match != nil {
			got = *l.Match
		}
		if got != m {
			t.Errorf("%s: %+v, want %+v", id, got, m)
		}
	}
	if l := find(a, "look", "Twin"); l.Match == nil || l.Match.Scope != "local" || l.Match.SID == userSID {
		t.Errorf("the local account of the same name: %+v", l.Match)
	}
	if l := find(a, "look", "Managed"); l.Match == nil || l.Match.Class != "managed" || l.Reason != powershell.ClassManaged {
		t.Errorf("a managed account: %+v", l)
	}
	if len(f.calls)+len(f.logons) != 0 {
		t.Errorf("a look changed something: %v %v", f.calls, f.logons)
	}
}

func TestUpdateWritesServicesAfterProof(t *testing.T) {
	t.Parallel()
	const password = `n"ew ‘pw’ $(x) ő 😀;,.{}`
	f := newFake()
	f.password["svc_app"] = password
	f.services = map[string]*service{
		"AppSvc": running(`corp\SVC_App`, 800), "Denied": running(`CORP\svc_app`, 801), "Moved": running(`CORP\another`, 802), "it's [a]": running(`CORP\svc_app`, 803),
	}
	f.services["Denied"].changeCode = 2
	h := newHost(t, f)
	a := h.must(t, powershell.Request{
		Op: powershell.OpUpdate, Target: target(), Kinds: []string{"service"}, Secrets: map[string]int{powershell.SecretNew: 0}, Journal: true,
		Policy: powershell.Policy{Proof: "required"},
		Items: []powershell.ItemRef{
			{Kind: "service", ID: "AppSvc", ExpectRunAs: `corp\SVC_App`},
			{Kind: "service", ID: "Denied", ExpectRunAs: `CORP\svc_app`},
			{Kind: "service", ID: "Moved", ExpectRunAs: `CORP\svc_app`},
			{Kind: "service", ID: "it's [a]", ExpectRunAs: `CORP\svc_app`},
			{Kind: "service", ID: "Gone", ExpectRunAs: `CORP\svc_app`},
		},
	}, password)
	if len(a.Proofs) != 1 || a.Proofs[0].Type != 5 || !a.Proofs[0].PasswordOK || !a.Proofs[0].Granted {
		t.Errorf("proofs %+v", a.Proofs)
	}
	for id, want := range map[string][2]string{
		"AppSvc": {"ok", ""}, "Denied": {"failed", powershell.ClassAccessDenied}, "Moved": {"skipped", powershell.ClassRunAsChanged},
		"it's [a]": {"ok", ""}, "Gone": {"failed", powershell.ClassNotFound},
	} {
		l := find(a, "update", id)
		class := l.Reason
		if l.Err != nil {
			class = l.Err.Class
		}
		if l.Status != want[0] || class != want[1] {
			t.Errorf("%s: %q %q, want %v (%+v)", id, l.Status, class, want, l.Err)
		}
	}
	if f.services["AppSvc"].password != password || f.services["it's [a]"].password != password || f.services["Moved"].password != "" {
		t.Errorf("stored %q", f.services["AppSvc"].password)
	}
	if a.Bye.Code != powershell.ByePartial || a.Bye.Counts["ok"] != 2 || !find(a, "look", "AppSvc").Match.Hit {
		t.Errorf("bye %+v", a.Bye)
	}
	if got := h.journal(t); !strings.Contains(got, `"phase":"update"`) || strings.Contains(got, "n\\\"ew") {
		t.Errorf("journal %s", got)
	}
}

func TestRestartStopsAndStartsInOrder(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.services = map[string]*service{
		"A": running(`CORP\svc_app`, 800), "B": running(`CORP\another`, 801, "A"), "C": running(`CORP\another`, 802, "A"),
		"Changed": running(`CORP\svc_app`, 803), "Refuses": running(`CORP\svc_app`, 804), "Dies": running(`CORP\svc_app`, 805), "NoLogon": running(`CORP\svc_app`, 806),
		"Slow": running(`CORP\svc_app`, 807), "Off": running(`CORP\svc_app`, 808),
	}
	f.services["C"].State, f.services["C"].CanPause = "Paused", true
	f.services["Refuses"].staysIn = "StopPending"
	f.services["Dies"].dies = true
	f.services["NoLogon"].startErrors = []int{1069, 1069, 1069}
	f.services["Slow"].startErrors = []int{1053}
	f.services["Off"].StartMode = "Disabled"
	h := newHost(t, f)
	plan := &powershell.Plan{StopTimeoutMs: 700, StartTimeoutMs: 3000, SettleMs: 300}
	for _, n := range []string{"C", "B", "A", "Changed", "Refuses", "Dies", "NoLogon", "Slow", "Off"} {
		s := f.services[n]
		plan.Stops = append(plan.Stops, powershell.PlanStop{ID: n, State: s.State, PID: s.PID, Started: s.Started})
	}
	plan.Stops[3].PID = 1
	for _, n := range []string{"A", "B", "C", "Dies", "NoLogon", "Slow"} {
		plan.Starts = append(plan.Starts, powershell.PlanStart{ID: n, Pause: n == "C"})
	}
	a := h.must(t, powershell.Request{Op: powershell.OpRestart, Plan: plan, Journal: true})
	for id, want := range map[string]string{
		"A": "ok", "B": "ok", "C": "ok", "Slow": "ok", "Changed": "skipped state_changed", "Refuses": "timeout stop_timeout",
		"Dies": "failed died_after_start", "NoLogon": "failed service_logon_failed", "Off": "skipped not_restartable_disabled",
	} {
		l := find(a, "restart", id)
		got := l.Status
		if l.Reason != "" {
			got += " " + l.Reason
		}
		if l.Err != nil {
			got += " " + l.Err.Class
		}
		if got != want {
			t.Errorf("%s: %s, want %s (%+v)", id, got, want, l.Err)
		}
	}
	order := strings.Join(f.calls, ",")
	if !strings.HasPrefix(order, "stop C,stop B,stop A,stop Refuses,stop Dies,stop NoLogon,stop Slow,start A,start B,start C,pause C,start Dies,start NoLogon,start Slow,start Slow") ||
		strings.Count(order, "start NoLogon") != 1 {
		t.Errorf("order %s", order)
	}
	if l := find(a, "restart", "C"); l.After.State != "Paused" || l.After.PID == 802 || l.Before.PID != 802 {
		t.Errorf("C %+v %+v", l.Before, l.After)
	}
	if got := h.journal(t); !strings.Contains(got, `"stopping"`) || !strings.Contains(got, `"started"`) || !strings.Contains(got, `"bye"`) {
		t.Errorf("journal %s", got)
	}
}

func TestTasks(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.tasks = map[string]msg{
		`\Nightly`:                task(`\Nightly`, userSID, "Password"),
		`\A\B C\täglich 100% 'x'`: task(`\A\B C\täglich 100% 'x'`, `CORP\svc_app`, "InteractiveTokenOrPassword"),
		`\S4U`:                    task(`\S4U`, `CORP\svc_app`, "S4U"),
		`\Local`:                  task(`\Local`, "svc_app", "Password"),
		`\System`:                 task(`\System`, "S-1-5-18", "ServiceAccount"),
		`\A\Broken`:               {"path": `\A\Broken`, "name": "Broken", "xml": "<Task", "state": 3},
	}
	f.tasks[`\A\B C\täglich 100% 'x'`]["state"] = 1
	h := newHost(t, f)
	look := h.must(t, powershell.Request{Op: powershell.OpLook, Target: target(), Kinds: []string{"task"}})
	both := find(look, "look", `\A\B C\täglich 100% 'x'`)
	if both.LogonType != "InteractiveTokenOrPassword" || !both.Stores || both.State != "Disabled" || find(look, "look", `\Nightly`).RunAs != userSID ||
		find(look, "look", `\S4U`).Reason != powershell.ClassNoStoredPassword || find(look, "look", `\Local`).Reason != powershell.ClassOtherAccount || find(look, "look", `\System`).ID != "" {
		t.Errorf("look %+v", look.Items)
	}
	req := powershell.Request{
		Op: powershell.OpUpdate, Target: target(), Kinds: []string{"task"}, Secrets: map[string]int{powershell.SecretNew: 0},
		Items: []powershell.ItemRef{{Kind: "task", ID: `\Nightly`, ExpectRunAs: userSID}, {Kind: "task", ID: `\A\B C\täglich 100% 'x'`}, {Kind: "task", ID: `\S4U`}, {Kind: "task", ID: `\Gone\x`}},
	}
	a := h.must(t, req, "new")
	if a.Proofs[0].Type != 4 || find(a, "update", `\Nightly`).Status != "ok" || find(a, "update", `\A\B C\täglich 100% 'x'`).Status != "ok" ||
		find(a, "update", `\S4U`).Reason != powershell.ClassNoStoredPassword || find(a, "update", `\Gone\x`).Err.Class != powershell.ClassNotFound {
		t.Errorf("update %+v", a.Items)
	}
	got := f.tasks[`\A\B C\täglich 100% 'x'`]
	if got["password"] != "new" || got["flags"] != 52.0 || got["user"] != `CORP\svc_app` || got["type"] != 6.0 || f.tasks[`\Nightly`]["type"] != 1.0 {
		t.Errorf("registered %v", got)
	}
	f.calls, f.register = nil, 0x8007052E
	a = h.must(t, req, "new")
	if len(f.calls) != 1 || find(a, "update", `\Nightly`).Err.Class != powershell.ClassRejected || find(a, "update", `\A\B C\täglich 100% 'x'`).Status != "pending" {
		t.Errorf("after a rejection: %v %+v", f.calls, a.Items)
	}
}

func TestPools(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.pools = map[string]msg{
		"Shop [1]": pool("Shop [1]", `CORP\SVC_APP`, "old", "Started", 900), "Current": pool("Current", `CORP\svc_app`, "new", "Started", 901),
		"Stopped": pool("Stopped", `CORP\svc_app`, "old", "Stopped"), "NoWAS": pool("NoWAS", `CORP\svc_app`, "old", ""),
		"AppPool": pool("AppPool", `CORP\svc_app`, "old", "Started"),
	}
	f.pools["AppPool"]["identityType"] = 4
	h := newHost(t, f)
	look := h.must(t, powershell.Request{Op: powershell.OpLook, Target: target(), Kinds: []string{"iis_pool"}})
	shop := find(look, "look", "Shop [1]")
	if shop.State != "Started" || len(shop.Workers) != 1 || shop.Workers[0] != 900 || shop.LogonType != "LogonBatch" || find(look, "look", "NoWAS").State != "unknown" ||
		find(look, "look", "AppPool").ID != "" {
		t.Errorf("look %+v", look.Items)
	}
	req := powershell.Request{Op: powershell.OpUpdate, Target: target(), Kinds: []string{"iis_pool"}, Secrets: map[string]int{powershell.SecretNew: 0}}
	for _, n := range []string{"Shop [1]", "Current", "Stopped", "NoWAS", "AppPool"} {
		req.Items = append(req.Items, powershell.ItemRef{Kind: "iis_pool", ID: n})
	}
	a := h.must(t, req, "new")
	for id, want := range map[string]string{"Shop [1]": "ok", "Current": "noop already_current", "Stopped": "ok", "NoWAS": "ok", "AppPool": "skipped run_as_changed"} {
		l := find(a, "update", id)
		if got := strings.TrimSpace(l.Status + " " + l.Reason); got != want {
			t.Errorf("%s: %s, want %s (%+v)", id, got, want, l.Err)
		}
	}
	if f.pools["Shop [1]"]["password"] != "new" || f.pools["AppPool"]["password"] != "old" || strings.Join(f.calls, ",") != "commit" {
		t.Errorf("%v %v", f.pools["Shop [1]"], f.calls)
	}
	a = h.must(t, powershell.Request{Op: powershell.OpRestart, Plan: &powershell.Plan{SettleMs: 100, Recycles: []powershell.PlanRecycle{
		{ID: "Shop [1]", Workers: []int{900}}, {ID: "Current", Workers: []int{1}}, {ID: "Stopped", Workers: []int{2}},
	}}})
	if find(a, "recycle", "Shop [1]").Status != "ok" || find(a, "recycle", "Current").Reason != "already_recycled" || find(a, "recycle", "Stopped").Status != "skipped" ||
		strings.Join(f.calls, ",") != "commit,recycle Shop [1]" {
		t.Errorf("recycle %+v %v", a.Items, f.calls)
	}
}

func TestVerifyAndSetPassword(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := newHost(t, f)
	local := &powershell.Account{SIDs: []string{}, Names: []string{`SRV1\svc_app`}, Sam: "svc_app", LogonUser: "svc_app", LogonDomain: "."}
	verify := powershell.Request{Op: powershell.OpVerify, Target: local, Secrets: map[string]int{powershell.SecretNew: 0}}
	if a := h.must(t, verify, "new"); len(a.Proofs) != 1 || a.Proofs[0].Type != 3 || a.Proofs[0].Code != 0 || a.Account.Scope != "local" || !a.Account.StatusKnown || !a.Account.Locked || a.Account.BadCount != 3 {
		t.Errorf("verify %+v %+v", a.Proofs, a.Account)
	}
	set := powershell.Request{Op: powershell.OpPassword, Target: local, Secrets: map[string]int{powershell.SecretNew: 0, powershell.SecretOld: 1}}
	for _, row := range []struct {
		name     string
		target   *powershell.Account
		reset    bool
		secrets  []string
		want     string
		password string
	}{
		{"the old one is wrong", local, true, []string{"next1", "wrong"}, "failed credential_rejected", "new"},
		{"the policy refuses", local, false, []string{"x", "new"}, "failed password_policy", "new"},
		{"changed with the old one", local, false, []string{"next1", "new"}, "ok ", "next1"},
		{"no reset without leave", local, false, []string{"next2"}, "failed reset_not_allowed", "next1"},
		{"reset with leave", local, true, []string{"next2"}, "ok ", "next2"},
		{"a domain account is not set here", target(), true, []string{"next3"}, "failed invalid_account", "next2"},
	} {
		req := set
		req.Target, req.Policy.AllowReset = row.target, row.reset
		if len(row.secrets) == 1 {
			req.Secrets = map[string]int{powershell.SecretNew: 0}
		}
		l := find(h.must(t, req, row.secrets...), "set", "svc_app")
		class := ""
		if l.Err != nil {
			class = l.Err.Class
		}
		if l.Status+" "+class != row.want || f.password["svc_app"] != row.password {
			t.Errorf("%s: %s %s, password %q", row.name, l.Status, class, f.password["svc_app"])
		}
	}
}

func (h *host) journal(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.data, "Keyturn", "journal", "run1.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func task(path, user, logonType string) msg {
	return msg{
		"path": path, "name": path[strings.LastIndex(path, `\`)+1:], "state": 3, "lastResult": 0, "instances": []int{},
		"xml": `<?xml version="1.0" encoding="UTF-16"?><Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task"><Principals>` +
			`<Principal id="Other"><UserId>S-1-5-18</UserId></Principal>` +
			`<Principal id="Author"><UserId>` + user + `</UserId><LogonType>` + logonType + `</LogonType></Principal></Principals><Actions Context="Author"/></Task>`,
	}
}

func pool(name, user, password, state string, workers ...int) msg {
	return msg{
		"name": name, "identityType": 3, "userName": user, "password": password, "logonType": "LogonBatch", "state": state,
		"workers": append([]int{}, workers...), "disallowRotation": false,
	}
}
