package vault_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// frozen are vaults of every version of the database, made once. They are never
// made again: with UPDATE=1 the newest is only made when it is missing.
var frozen = map[int]string{1: "../testdata/vault/v1", 2: "../testdata/vault/v2"}

func freeze(t *testing.T, to string) {
	t.Helper()
	o := options()
	o.Now = newClock().Now
	v, err := vault.Create(t.Context(), filepath.Join(t.TempDir(), "v1"), word(testPassphrase), o)
	must(t, err)
	ctx := t.Context()
	folder, err := v.AddFolder(ctx, "Prod", "")
	must(t, err)
	m := machineRecord("DC01", "dc01.lab.example", "Windows")
	m.Folder = folder
	machine := add(t, v, m)
	user := add(t, v, userRecord("svc_app", `LAB\svc_app`, "first"))
	must(t, v.SetRotation(ctx, pam.RotationSettings{User: user, Resource: machine, Enabled: true, Complexity: "24,2,2,2,2"}))
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: machine, Kinds: pam.MapServices | pam.MapTasks}))
	rotated(t, v, user, machine, "S-1-5-21-1", "DC01")
	info, err := v.Info(ctx)
	must(t, err)
	must(t, v.Close())
	must(t, os.MkdirAll(to, 0o755))
	copyFiles(t, info.Dir, to)
}

// rotated leaves all that a job writes which gave the user a second password and
// stored it with one service of a machine. The account is known by sid from then on.
func rotated(t *testing.T, v *vault.Vault, user, machine pam.UID, sid, title string) {
	t.Helper()
	ctx := t.Context()
	j := newJob(t, v, user)
	account, err := v.Identify(ctx, j.Account, pam.Identity{Alias: sid, SID: sid})
	must(t, err)
	item := pam.Item{Machine: machine, MachineTitle: title, Kind: pam.KindService, Name: "App", Status: pam.StatusOK, Updated: true}
	_, err = v.Open(ctx, j.ID, pam.Plan{Items: []pam.Item{item}})
	must(t, err)
	_, err = v.Stage(ctx, j.ID, account.UID, word("second"), pam.Evidence{Mark: "e", Exact: true})
	must(t, err)
	must(t, v.SetOutcome(ctx, j.ID, pam.OutcomeApplied, pam.Evidence{}))
	must(t, v.Commit(ctx, j.ID, pam.VerdictRight))
	d := pam.Deployment{Account: account.UID, Machine: machine, Kind: pam.KindService, Name: "App", Generation: 2, Status: pam.DeploymentConfirmed}
	must(t, v.SaveSteps(ctx, []pam.Step{{Job: j.ID, Item: item, Deployment: &d}}))
	must(t, v.SaveRestartPlan(ctx, j.ID, pam.RestartPlan{Machine: machine, Stops: []pam.Stop{{Name: "App"}}}))
	j.State = pam.JobFinished
	must(t, v.SetJob(ctx, j))
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"header", "vault.db"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, name), b, 0o600))
	}
}

func TestVaultsOfEveryFormatOpen(t *testing.T) {
	t.Parallel()
	newest := frozen[len(frozen)]
	if _, err := os.Stat(newest); errors.Is(err, fs.ErrNotExist) && os.Getenv("UPDATE") == "1" {
		freeze(t, newest)
	}
	for _, from := range frozen {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			v := thawed(t, from)
			checkFrozen(t, v)
			add(t, v, userRecord("new", "new", "new")) // and it can be written
			checkFrozen(t, v)
			if _, err := v.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// thawed opens a copy of a frozen vault.
func thawed(t *testing.T, from string) *vault.Vault {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "locks"), 0o700))
	copyFiles(t, from, dir)
	v, err := openAgain(t, dir)
	must(t, err)
	return v
}

// A program of the first version does not read frames that are filled up: it
// is told of the version before it meets one.
func TestAVaultOfTheFirstFormatIsMarkedWhenItIsWritten(t *testing.T) {
	t.Parallel()
	v := thawed(t, frozen[1])
	version := func() (n int) {
		must(t, vault.Query(t.Context(), v, `PRAGMA user_version`, &n))
		return n
	}
	_, err := v.Heads(t.Context())
	must(t, err)
	if version() != 1 {
		t.Error("reading changes it")
	}
	must(t, v.AuditReveal(t.Context(), "x", "y"))
	if version() != len(frozen) {
		t.Errorf("it is still of version %d", version())
	}
}

// checkFrozen looks whether all is there that freeze put into a vault.
func checkFrozen(t *testing.T, v *vault.Vault) {
	t.Helper()
	ctx := t.Context()
	h, err := v.Find(ctx, "svc_app", "")
	must(t, err)
	machine, err := v.Find(ctx, "/Prod/DC01", "")
	must(t, err)
	if got := passwordOf(t, v, h.UID); got != "second" || h.Summary != `LAB\svc_app` {
		t.Errorf("the record shows %q of %q", got, h.Summary)
	}
	s, a, err := v.User(ctx, h.UID)
	if err != nil || s.Complexity != "24,2,2,2,2" || a.Authority != pam.AuthorityWindows || a.SID != "S-1-5-21-1" {
		t.Errorf("got %+v, %+v, %v", s, a, err)
	}
	if got := strings.Join(vault.Passwords(ctx, v, a.UID), " "); got != "first second" {
		t.Errorf("the history is %s", got)
	}
	jobs, err := v.Jobs(ctx)
	must(t, err)
	j, err := v.Job(ctx, jobs[0].ID)
	if err != nil || j.State != pam.JobFinished || len(j.Items) != 1 || j.Generation != 2 || j.Fence != 1 {
		t.Errorf("got %+v, %v", j, err)
	}
	plans, err := v.RestartPlans(ctx, j.ID)
	if err != nil || len(plans[machine.UID].Stops) != 1 {
		t.Errorf("got %+v, %v", plans, err)
	}
	ds, err := v.Deployments(ctx, a.UID)
	if err != nil || len(ds) != 1 || ds[0].Generation != 2 || ds[0].Held != 2 {
		t.Errorf("got %+v, %v", ds, err)
	}
	mappings, err := v.Mappings(ctx, h.UID)
	if err != nil || len(mappings) != 1 {
		t.Errorf("got %+v, %v", mappings, err)
	}
	must(t, v.VerifyAudit(ctx))
}
