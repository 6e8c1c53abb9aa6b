package standins_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

const (
	recycled = "update=ok restart=noop/already_recycled Started recycles=1 new"
	wasKey   = model.KeysetMissingHR
	// conflict is ERROR_LOCK_VIOLATION: another writer was faster.
	conflict = model.HResult(0x80070021)
)

func TestIIS(t *testing.T) {
	t.Parallel()
	playRows(t, slices.Concat(poolRows(), inheritanceRows(), placeRows(), commitRows(), clusterRows()))
}

func poolRows() []row {
	return []row{
		{"W01 a started pool gets new workers", func(w *world) { w.pool("P", nil) }, map[string]string{"P": recycled}},
		{"W02 a name is compared by who it is", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.UserName = `CORP\SVC_APP` })
		}, map[string]string{"P": recycled}},
		{"W03 a stopped pool stays stopped", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.Stopped, p.Workers = true, 0 })
		}, map[string]string{"P": "update=ok Stopped recycles=0 new"}},
		{"W04 an idle pool stays idle", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.Workers = 0 })
		}, map[string]string{"P": "update=ok Started recycles=0 new"}},
		{"W05 a pool that always runs has its new worker", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.AlwaysRunning = true })
			w.pool("Held", func(p *model.PoolSpec) { p.AlwaysRunning, p.DisallowRotation = true, true })
		}, map[string]string{"P": recycled, "Held": "update=ok restart=ok Started recycles=1 new"}},
		{"W06 a pool that does not recycle by itself is recycled", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.DisallowRotation = true })
		}, map[string]string{"P": "update=ok restart=ok Started recycles=1 new"}},
		{"W07 a pool that has it already is left", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.Password = pw(newPassword) })
		}, map[string]string{"P": "update=noop/already_current Started recycles=0 new"}},
		{"W08 a stale user name is not whom it runs as", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.IdentityType = model.PoolIdentityVirtual })
		}, map[string]string{"P": "Started recycles=0"}},
		{"W12 odd names are names", func(w *world) { w.pool(`a[b]*'c`, nil) }, map[string]string{`a[b]*'c`: recycled}},
		{"W13 without the activation service it is written only", func(w *world) {
			w.pool("P", nil)
			w.m.StopWAS()
		}, map[string]string{"P": "update=ok Started recycles=0 new"}},
		{"W19 a pool that the change of its configuration stopped is a failure, with the event", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.WorkerCode = 1314 })
		}, map[string]string{"P": "update=ok restart=failed/service_logon_failed/5059 Stopped recycles=0 new"}},
		{"W19 a pool that its recycle stopped is one too", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.WorkerCode, p.DisallowRotation = 1314, true })
		}, map[string]string{"P": "update=ok restart=failed/service_logon_failed/5059 Stopped recycles=0 new"}},
		{"W19 without the batch right the new worker does not come up", func(w *world) {
			w.pool("P", nil)
			w.m.Restrict(w.sid, model.LogonBatch, model.LogonTypeNotGranted)
		}, map[string]string{"P": "update=ok restart=failed/service_logon_failed/5059 Stopped recycles=0 new"}},
		{"the right that a pool needs is proven, not another", func(w *world) {
			w.pool("P", func(p *model.PoolSpec) { p.LogonService, p.DisallowRotation = true, true })
			w.m.Restrict(w.sid, model.LogonService, model.LogonTypeNotGranted)
		}, map[string]string{"P": "update=ok skip=right_missing Started recycles=0 new"}},
	}
}

func inheritanceRows() []row {
	return []row{
		{"W09 defaults are updated, and pools that inherit them are not materialised", func(w *world) {
			w.m.SetPoolDefaults(`CORP\svc_app`, pw(oldPassword))
			w.pool("Heir", func(p *model.PoolSpec) { p.Inherits = true })
			w.pool("Held", func(p *model.PoolSpec) { p.Inherits, p.DisallowRotation = true, true })
			w.pool("Own", nil)
		}, map[string]string{
			powershell.PoolDefaults: "update=ok",
			"Heir":                  "update=ok/inherited restart=noop/already_recycled Started recycles=1 new inherits",
			"Held":                  "update=ok/inherited restart=ok Started recycles=1 new inherits", "Own": recycled,
		}},
		{"W09 another's defaults are left, and so is who inherits them", func(w *world) {
			w.m.SetPoolDefaults(`CORP\neighbour`, pw("other-Passw0rd"))
			w.pool("Heir", func(p *model.PoolSpec) { p.Inherits = true })
		}, map[string]string{"Heir": "Started recycles=0 new inherits"}},
		{"W10 directories that inherit are not materialised", func(w *world) {
			w.m.SetDirectoryDefaults(`CORP\svc_app`, pw(oldPassword))
			w.m.AddDirectory(model.DirectorySpec{Site: "Shop", App: "/", Path: "/", Inherits: true})
			w.m.AddDirectory(model.DirectorySpec{Site: "Shop", App: "/", Path: "/own", UserName: `CORP\svc_app`, Password: pw(oldPassword)})
		}, map[string]string{
			model.DirectoryDefaults: "update=ok", "Shop/": "update=ok/inherited new inherits", "Shop/own": "update=ok new",
		}},
		{"W11 a place that says nothing of the user follows the server", func(w *world) {
			w.m.AddAnonymous(model.AnonymousSpec{UserName: `CORP\svc_app`, Password: pw(oldPassword)})
			w.m.AddAnonymous(model.AnonymousSpec{Location: "Shop/a", Inherits: true})
			w.m.AddAnonymous(model.AnonymousSpec{Location: "Shop/b", UserName: `CORP\svc_app`, Password: pw(oldPassword)})
		}, map[string]string{
			model.AnonymousServer: "update=ok new", "Shop/a": "update=ok/inherited new inherits", "Shop/b": "update=ok new",
		}},
	}
}

func placeRows() []row {
	directory := func(w *world, app, path, user string) {
		w.m.AddDirectory(model.DirectorySpec{Site: "Shop", App: app, Path: path, UserName: user, Password: pw(oldPassword)})
	}
	return []row{
		{"W10 a virtual directory is updated, and nothing is restarted", func(w *world) {
			directory(w, "/", "/files", `corp\SVC_App`)
			directory(w, "/api", "/", "svc_app@corp.example.com")
			directory(w, "/api", "/x [1]*'y", w.sid)
			directory(w, "/", "/pass-through", "")
			directory(w, "/", "/others", `CORP\neighbour`)
			directory(w, "/", "/like", `OLD\svc_app`)
			w.pool("Shop", func(p *model.PoolSpec) { p.IdentityType = model.PoolIdentityVirtual })
		}, map[string]string{
			"Shop/files": "update=ok new", "Shop/api/": "update=ok new", "Shop/api/x [1]*'y": "update=ok new", "Shop/pass-through": "",
			"Shop/others": "old", "Shop/like": "skip=ambiguous_identity", "Shop": "Started recycles=0",
		}},
		{"W11 anonymous users are updated in location tags and in web.config", func(w *world) {
			w.m.AddAnonymous(model.AnonymousSpec{UserName: "IUSR"})
			w.m.AddAnonymous(model.AnonymousSpec{Location: "Shop/public", UserName: `CORP\svc_app`, Password: pw(oldPassword)})
			w.m.AddAnonymous(model.AnonymousSpec{Location: "Shop/api", WebConfig: true, UserName: `CORP\svc_app`, Password: pw(oldPassword)})
			w.m.AddAnonymous(model.AnonymousSpec{Location: "Shop/pool"})
			w.m.AddAnonymous(model.AnonymousSpec{Location: "Shop/done", UserName: `CORP\svc_app`, Password: pw(newPassword)})
		}, map[string]string{
			model.AnonymousServer: "", "Shop/public": "update=ok new", "Shop/api/web.config": "update=ok new", "Shop/pool": "",
			"Shop/done": "update=noop/already_current new",
		}},
	}
}

func commitRows() []row {
	place := func(w *world) {
		w.m.AddDirectory(model.DirectorySpec{Site: "Shop", App: "/", Path: "/files", UserName: `CORP\svc_app`, Password: pw(oldPassword)})
	}
	return []row{
		{"W15 a missing key fails what IIS stores, not the services", func(w *world) {
			w.pool("P", nil)
			w.svc("A", model.Running, nil)
			w.m.FailCommits(wasKey, wasKey)
		}, map[string]string{"P": "update=failed/iis_key_access Started recycles=0 old", "A": "update=ok restart=ok Running restarts=1 new"}},
		{"W16 a conflict is tried once more", func(w *world) {
			w.pool("P", nil)
			w.m.FailCommits(conflict)
		}, map[string]string{"P": recycled}},
		{"W16 but only once", func(w *world) {
			w.pool("P", nil)
			w.svc("A", model.Running, nil)
			w.m.FailCommits(conflict, conflict)
		}, map[string]string{"P": "update=failed/iis_config_conflict Started recycles=0 old", "A": "update=ok restart=ok Running restarts=1 new"}},
		{"W17 a configuration that other machines share is left alone", func(w *world) {
			w.pool("P", nil)
			place(w)
			w.svc("A", model.Running, nil)
			w.m.ShareConfiguration(`\\filer\iis`)
		}, map[string]string{
			"P": "skip=shared_config Started recycles=0 old", "Shop/files": "skip=shared_config old",
			"A": "update=ok restart=ok Running restarts=1 new",
		}},
		{"W18 nothing is committed when the proof fails", func(w *world) {
			w.pool("P", nil)
			place(w)
			w.m.Lag()
		}, map[string]string{
			"P": "update=pending/credential_rejected Started recycles=0 old", "Shop/files": "update=pending/credential_rejected old",
		}},
	}
}

func clusterRows() []row {
	clustered := func(s *model.ServiceSpec) { s.Clustered = true }
	return []row{
		{"S32 on the owner's node a clustered service is written, not restarted", func(w *world) {
			w.svc("Db", model.Running, clustered)
			w.svc("App", model.Running, nil)
		}, map[string]string{
			"Db": "update=ok skip=clustered Running restarts=0 new", "App": "update=ok restart=ok Running restarts=1 new",
		}},
		{"S34 on a passive node it is written only", func(w *world) { w.svc("Db", model.Stopped, clustered) }, map[string]string{
			"Db": "update=ok Stopped restarts=0 new",
		}},
	}
}

// W05 asks for more than that a recycle was reported.
func TestW05TheNewWorkerIsSeen(t *testing.T) {
	t.Parallel()
	both(t, func(w *world) {
		w.pool("P", func(p *model.PoolSpec) { p.AlwaysRunning, p.DisallowRotation = true, true })
		old := w.m.View().Pool("P").Workers
		w.rotate()
		w.apply()
		if now := w.m.View().Pool("P").Workers; len(now) != 1 || slices.Equal(now, old) {
			w.t.Errorf("workers %v, then %v", old, now)
		}
	})
}

func TestW17TheSharedFolderIsTold(t *testing.T) {
	t.Parallel()
	both(t, func(w *world) {
		w.m.ShareConfiguration(`\\filer\iis`)
		want(w.t, w.look(pam.MapAll).Reports, `shared_config|\\filer\iis`)
	})
}

func TestF08ProcessesThatNothingExplains(t *testing.T) {
	t.Parallel()
	both(t, func(w *world) {
		w.svc("App", model.Running, nil)
		w.pool("P", nil)
		w.m.AddTask(model.TaskSpec{Path: `\T`, UserID: `CORP\svc_app`, Password: pw(oldPassword), Running: 1})
		child := w.m.SpawnChild(w.m.View().Service("App").PID, w.sid, "child.exe")
		w.m.SpawnChild(child, w.sid, "grandchild.exe")
		w.m.SpawnChild(w.m.View().Pool("P").Workers[0], w.sid, "helper.exe")
		stray := w.m.SpawnChild(0, w.sid, "stray.exe")
		w.m.SpawnChild(stray, "S-1-5-21-9-9-9-500", "another.exe")
		w.m.SpawnChild(0, "S-1-5-18", "system.exe")
		// Its parent has ended, and the service that starts later gets its number.
		reused := w.m.SpawnChild(stray+16, w.sid, "orphan.exe")
		w.clock.Advance(1e9)
		w.svc("Later", model.Running, nil)
		if got := w.m.View().Service("Later").PID; got != stray+16 {
			w.t.Fatalf("the service has process %d, want %d", got, stray+16)
		}
		inv := w.look(pam.MapAll)
		want(w.t, inv.Reports, "unmanaged_process|"+strconv.Itoa(stray), "unmanaged_process|"+strconv.Itoa(reused))
		if text := inv.Reports[0].Text; !strings.HasPrefix(text, "process "+strconv.Itoa(stray)+` (stray.exe) runs as CORP\svc_app, `) {
			w.t.Errorf("told %q", text)
		}
		// A mapping that leaves pools out leaves their workers unexplained.
		if n := len(w.look(pam.MapServices | pam.MapTasks).Reports); n != 4 {
			w.t.Errorf("%d reports, want the worker and its helper beside", n)
		}
	})
}

func TestComPlusAndDcomAreTold(t *testing.T) {
	t.Parallel()
	both(t, func(w *world) {
		for _, a := range []model.Application{
			{Name: "Orders", ID: "{1}", RunAs: `corp\SVC_App`},
			{Name: "System", ID: "{2}", RunAs: `nt authority\localservice`},
			{Name: "Shell", ID: "{3}", RunAs: "Interactive User", DCOM: true},
			{Name: "Bridge", ID: "{4}", RunAs: `CORP\svc_app`, DCOM: true},
			{Name: "Launcher", ID: "{5}", DCOM: true},
		} {
			w.m.AddApplication(a)
		}
		inv := w.look(pam.MapAll)
		want(w.t, inv.Reports, "com_plus|Orders", "dcom|{4}")
		if len(inv.Items) != 0 {
			w.t.Errorf("items %+v", inv.Items)
		}
	})
}

func TestPlacesElsewhereAreTold(t *testing.T) {
	t.Parallel()
	both(t, func(w *world) {
		w.m.AddDirectory(model.DirectorySpec{Site: "Shop", App: "/api", Path: "/"})
		w.m.ShareConfiguration(`\\filer\iis`)
		for _, place := range []string{model.PlaceAutologon, model.PlaceCertificates, model.PlaceRedirection, "Shop/api"} {
			w.m.StoreElsewhere(place, `CORP\svc_app`)
		}
		want(w.t, w.look(pam.MapAll).Reports, "seen_elsewhere|Winlogon autologon", "seen_elsewhere|IIS central certificate store",
			`shared_config|\\filer\iis`, "seen_elsewhere|IIS shared configuration", "seen_elsewhere|<identity> in Shop/api/web.config")
	})
}

func want(t *testing.T, got []dependency.Report, wanted ...string) {
	t.Helper()
	var brief []string
	for _, r := range got {
		brief = append(brief, r.Class+"|"+r.Name)
	}
	if !slices.Equal(brief, wanted) {
		t.Errorf("told %q, want %q", brief, wanted)
	}
}
