package vault_test

import (
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

func TestTwoRecordsOfOneAccountBecomeOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what        string
		typeIn      string // the record whose password is typed last
		wantCurrent string
	}{
		{"the account that is merged has the newer password", "upn", "typed"},
		{"the account that stays has the newer password", "nt4", "typed"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			o := options()
			o.Now = newClock().Now
			v, _ := createWith(t, o)
			ctx := t.Context()
			nt4, _ := rotatable(t, v, "nt4")
			upn, _ := rotatable(t, v, "upn")
			users := map[string]pam.UID{"nt4": nt4, "upn": upn}
			old := newJob(t, v, upn) // a job of the past, with something deployed
			_, err := v.Stage(ctx, old.ID, old.Account, word("rotated"), pam.Evidence{})
			must(t, err)
			must(t, v.Commit(ctx, old.ID, pam.VerdictRight))
			d := pam.Deployment{Account: old.Account, Machine: "m", Kind: pam.KindService, Name: "s", Generation: 2, Seen: time.Unix(9, 0).UTC()}
			must(t, v.SaveSteps(ctx, []pam.Step{{Job: old.ID, Item: pam.Item{Name: "s"}, Deployment: &d}}))
			old.State = pam.JobPartial
			must(t, v.SetJob(ctx, old))

			r, err := v.Record(ctx, users[c.typeIn])
			must(t, err)
			r.Field("password", "").Secret = word("typed")
			must(t, v.UpdateRecord(ctx, r))

			_, stays, err := v.User(ctx, nt4)
			must(t, err)
			id := pam.Identity{Alias: "S-1-5-21", SID: "S-1-5-21"}
			_, err = v.Identify(ctx, stays.UID, id)
			must(t, err)
			j := newJob(t, v, upn)
			merged, err := v.Identify(ctx, j.Account, id)
			must(t, err)
			again, err := v.Identify(ctx, merged.UID, id)
			if err != nil || merged != again || merged.UID != stays.UID || merged.SID != id.SID {
				t.Errorf("got %+v, then %+v, %v", merged, again, err)
			}
			checkMerged(t, v, merged.UID, old.ID, j.ID, nt4, upn, c.wantCurrent)
		})
	}
}

func checkMerged(t *testing.T, v *vault.Vault, account, old, running, nt4, upn pam.UID, current string) {
	t.Helper()
	ctx := t.Context()
	for _, user := range []pam.UID{nt4, upn} {
		if got := passwordOf(t, v, user); got != current {
			t.Errorf("a record shows %q, want %q", got, current)
		}
	}
	if n := vault.CountCurrent(ctx, v, account); n != 1 {
		t.Errorf("%d current passwords", n)
	}
	if got := vault.Passwords(ctx, v, account); len(got) != 4 {
		t.Errorf("the history is %q: something was lost", got)
	}
	j, err := v.Job(ctx, running)
	if err != nil || j.Account != account {
		t.Errorf("the job holds %s, want %s, %v", j.Account, account, err)
	}
	_, err = v.CreateJob(ctx, nt4, pam.JobOptions{})
	wants(t, err, pam.ErrConflict, string(running))
	past, err := v.Job(ctx, old)
	must(t, err)
	ds, err := v.Deployments(ctx, account)
	must(t, err)
	if past.Account != account || len(ds) != 1 || ds[0].Generation != past.Generation {
		t.Fatalf("got job %+v and deployments %+v", past, ds)
	}
	if got := vault.Passwords(ctx, v, account)[past.Generation-1]; got != "rotated" {
		t.Errorf("the old job's generation is %q now", got)
	}
	must(t, v.VerifyAudit(ctx))
}

func TestAMergeWaitsForTheOtherAccountsJob(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	a, _ := rotatable(t, v, "a")
	b, _ := rotatable(t, v, "b")
	id := pam.Identity{Alias: "S-1"}
	ja := newJob(t, v, a)
	_, err := v.Identify(ctx, ja.Account, id)
	must(t, err)
	jb := newJob(t, v, b)
	_, err = v.Identify(ctx, jb.Account, id)
	wants(t, err, pam.ErrConflict, string(ja.ID), "nothing changed")
	ja.State = pam.JobFailed
	must(t, v.SetJob(ctx, ja))
	_, err = v.Stage(ctx, jb.ID, jb.Account, word("maybe live"), pam.Evidence{})
	must(t, err)
	merged, err := v.Identify(ctx, jb.Account, id)
	must(t, err)
	g, err := v.Generation(ctx, merged.UID, pam.Pending)
	if err != nil || string(g.Password.Reveal()) != "maybe live" || g.Job != jb.ID {
		t.Errorf("got %+v, %v", g, err)
	}
	must(t, v.Commit(ctx, jb.ID, pam.VerdictRight))
}

func TestTwoPendingPasswordsAreNotMerged(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	a, _ := rotatable(t, v, "a")
	b, _ := rotatable(t, v, "b")
	ja := newJob(t, v, a)
	_, err := v.Identify(ctx, ja.Account, pam.Identity{Alias: "S-1"})
	must(t, err)
	_, err = v.Stage(ctx, ja.ID, ja.Account, word("one"), pam.Evidence{})
	must(t, err)
	ja.State = pam.JobFailed
	must(t, v.SetJob(ctx, ja))
	jb := newJob(t, v, b)
	_, err = v.Stage(ctx, jb.ID, jb.Account, word("two"), pam.Evidence{})
	must(t, err)
	_, err = v.Identify(ctx, jb.Account, pam.Identity{Alias: "S-1"})
	wants(t, err, pam.ErrConflict, "may be live", "nothing changed")
	_, err = v.Identify(ctx, jb.Account, pam.Identity{})
	wants(t, err, pam.ErrInternal)
}

func TestAnAccountThatChangesItsIdentityFreesTheOldOne(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	a, _ := rotatable(t, v, "a")
	b, _ := rotatable(t, v, "b")
	_, first, err := v.User(ctx, a)
	must(t, err)
	_, second, err := v.User(ctx, b)
	must(t, err)
	for _, alias := range []string{"old", "new"} {
		_, err := v.Identify(ctx, first.UID, pam.Identity{Alias: alias})
		must(t, err)
	}
	got, err := v.Identify(ctx, second.UID, pam.Identity{Alias: "old"})
	if err != nil || got.UID != second.UID {
		t.Errorf("got %+v, %v", got, err)
	}
}
