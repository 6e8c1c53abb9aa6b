package script_test

import (
	"context"
	"testing"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
)

// A look says the same of a machine in the engine as on the twin, word for word:
// of one account and what may explain it, and of everyone.
func TestALookSaysTheSameInTheEngine(t *testing.T) {
	t.Parallel()
	kinds := append([]pam.DependencyKind{pam.KindVdir, pam.KindAnonymous}, allKinds...)
	for name, everyone := range map[string]bool{"of one account": false, "of everyone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play := func(w *world) error {
				everySort(w)
				_, err := w.host().Look(context.Background(), dependency.LookRequest{
					Run: run, Subject: w.subject(), Kinds: kinds, Everyone: everyone,
				})
				return err
			}
			w := newWorld(t, nil).inEngine(t)
			if err := play(w); err != nil {
				t.Fatal(err)
			}
			if lines := said(t, w); len(lines) < 12 {
				t.Errorf("only %d lines: %s", len(lines), lines)
			}
			sameWords(t, w, play, nil)
		})
	}
}

// everySort puts one of everything on a machine that a look may tell of.
func everySort(w *world) {
	w.svc("A", model.Running, nil)
	w.svc("Other", model.Stopped, runAs(`CORP\admin`))
	w.svc("Gone", model.Running, runAs(`OLD\svc_app`))
	w.svc("Managed", model.Running, runAs(`CORP\gapp$`))
	w.dep("Needs", "A", model.Running)
	w.task(`\T`, nil)
	w.task(`\Orphan`, func(s *model.TaskSpec) { s.UserID = "S-1-5-21-9-9-9-1234" })
	w.pool("P", nil)
	w.m.AddDirectory(model.DirectorySpec{Site: "S", App: "/", Path: "/files", UserName: `CORP\svc_app`, Password: pw(oldPassword)})
	w.m.AddAnonymous(model.AnonymousSpec{Location: "S/public", UserName: `CORP\svc_app`, Password: pw(oldPassword)})
	w.m.AddApplication(model.Application{Name: "Legacy", ID: "{0f1e2d3c-0000-4000-8000-000000000001}", RunAs: `CORP\svc_app`})
	w.m.SpawnChild(0, w.sid, "stray.exe")
	w.m.ShareConfiguration(`\\filer\iis`)
}
