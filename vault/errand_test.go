package vault_test

import (
	"testing"

	"keyturn/pkg/pam"
)

func TestAJobIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	rotate := func() pam.Job {
		t.Helper()
		j, err := v.CreateJob(ctx, user, pam.JobOptions{})
		must(t, err)
		_, err = v.Stage(ctx, j.ID, j.Account, word("next-"+string(j.ID)), pam.Evidence{})
		must(t, err)
		must(t, v.Commit(ctx, j.ID, pam.VerdictRight))
		j.State = pam.JobFinished
		must(t, v.SetJob(ctx, j))
		return j
	}
	first := rotate()
	done := pam.Item{Kind: pam.KindAccount, Name: "svc", Status: pam.StatusOK}
	must(t, v.SaveSteps(ctx, []pam.Step{{Job: first.ID, Item: done}}))
	got, err := v.TakeUp(ctx, first.ID, pam.ErrandRestart)
	if err != nil || len(got.Items) != 1 || got.State != pam.JobQueued || got.Errand != pam.ErrandRestart || got.Phase != pam.PhaseLook {
		t.Fatalf("got %+v, %v", got, err)
	}
	_, err = v.TakeUp(ctx, first.ID, pam.ErrandRestart) // it holds its account now
	wants(t, err, pam.ErrConflict, string(first.ID))
	_, err = v.CreateJob(ctx, user, pam.JobOptions{})
	wants(t, err, pam.ErrConflict, string(first.ID))
	got.State = pam.JobPartial
	must(t, v.SetJob(ctx, got))
	if got, err = v.Job(ctx, first.ID); err != nil || got.Errand != pam.ErrandAll {
		t.Errorf("an errand ends with its run: %+v, %v", got, err)
	}

	rotate()
	for _, e := range []pam.Errand{pam.ErrandRestart, pam.ErrandRestartNow, pam.ErrandRetry} {
		_, err = v.TakeUp(ctx, first.ID, e)
		wants(t, err, pam.ErrConflict, "present password", "nothing changed")
	}
	_, err = v.TakeUp(ctx, first.ID, pam.ErrandAll) // brings its machines to the newest password
	must(t, err)
	_, err = v.TakeUp(ctx, "nosuch", pam.ErrandAll)
	wants(t, err, pam.ErrNotFound)
}

func TestASealIsThisVaultsOnly(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	other, _ := create(t)
	seal := func(purpose, text string) string {
		t.Helper()
		s, err := v.Seal(purpose, text)
		must(t, err)
		return s
	}
	foreign, err := other.Seal("plan", "text")
	must(t, err)
	own := seal("plan", "text")
	if own != seal("plan", "text") {
		t.Error("a seal is not the same twice")
	}
	for name, s := range map[string]string{
		"another vault": foreign, "another text": seal("plan", "texts"), "another purpose": seal("plans", "text"),
	} {
		if s == own {
			t.Errorf("%s has the same seal", name)
		}
	}
}
