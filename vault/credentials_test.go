package vault_test

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

func TestARotationMovesGenerations(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	ev := pam.Evidence{Mark: "pls0", Exact: true}
	g, err := v.Stage(ctx, j.ID, j.Account, word("second"), ev)
	must(t, err)
	if g.Number != 2 || g.Status != pam.Pending || g.Job != j.ID || g.Evidence != ev || g.Source != pam.SourceRotation {
		t.Errorf("staged %+v", g)
	}
	again, err := v.Stage(ctx, j.ID, j.Account, word("third"), pam.Evidence{})
	must(t, err)
	if again.Number != 2 || string(again.Password.Reveal()) != "second" || again.Evidence != ev {
		t.Errorf("a second Stage made %+v", again)
	}
	if got := passwordOf(t, v, user); got != "first-svc" {
		t.Errorf("before the commit the record shows %q", got)
	}
	stale, err := v.Record(ctx, user)
	must(t, err)
	must(t, v.SetOutcome(ctx, j.ID, pam.OutcomeUnknown, pam.Evidence{}))
	must(t, v.SetOutcome(ctx, j.ID, pam.OutcomeApplied, pam.Evidence{Mark: "pls1"}))
	wants(t, v.Commit(ctx, j.ID, pam.VerdictWrong), pam.ErrInternal)
	must(t, v.Commit(ctx, j.ID, pam.VerdictCannotTell))
	must(t, v.Commit(ctx, j.ID, pam.VerdictRight)) // a repeated commit changes nothing
	got, err := v.Job(ctx, j.ID)
	must(t, err)
	if got.Generation != 2 || !got.Committed || got.Verdict != pam.VerdictCannotTell || got.Outcome != pam.OutcomeApplied {
		t.Errorf("got %+v", got)
	}
	current, err := v.Generation(ctx, j.Account, pam.Current)
	must(t, err)
	if current.Number != 2 || !current.Unverified || passwordOf(t, v, user) != "second" {
		t.Errorf("got %+v", current)
	}
	// Who read the record before the commit must not write the old password back.
	got.State = pam.JobFinished
	must(t, v.SetJob(ctx, got))
	wants(t, v.UpdateRecord(ctx, stale), pam.ErrConflict, "meanwhile")
}

func TestARefusedPasswordIsKeptAsRejected(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	_, err := v.Stage(ctx, j.ID, j.Account, word("second"), pam.Evidence{})
	must(t, err)
	must(t, v.SetOutcome(ctx, j.ID, pam.OutcomeRefused, pam.Evidence{}))
	rejected, err := v.Generation(ctx, j.Account, pam.Rejected)
	if err != nil || string(rejected.Password.Reveal()) != "second" {
		t.Errorf("got %+v, %v", rejected, err)
	}
	_, err = v.Generation(ctx, j.Account, pam.Pending)
	wants(t, err, pam.ErrNotFound)
	wants(t, v.Commit(ctx, j.ID, pam.VerdictRight), pam.ErrInternal, "no pending password")
	if got := passwordOf(t, v, user); got != "first-svc" {
		t.Errorf("the record shows %q", got)
	}
	g, err := v.Stage(ctx, j.ID, j.Account, word("third"), pam.Evidence{})
	if err != nil || g.Number != 3 {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestAPendingPasswordOfAnEarlierJobIsTakenOver(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	first := newJob(t, v, user)
	ev := pam.Evidence{Mark: "old", Exact: true}
	_, err := v.Stage(ctx, first.ID, first.Account, word("maybe live"), ev)
	must(t, err)
	first.State = pam.JobFailed
	must(t, v.SetJob(ctx, first))
	second := newJob(t, v, user)
	g, err := v.Stage(ctx, second.ID, second.Account, word("fresh"), pam.Evidence{Mark: "new", Exact: true})
	must(t, err)
	if string(g.Password.Reveal()) != "maybe live" || g.Job != second.ID || g.Evidence != ev || g.Number != 2 {
		t.Errorf("got %+v", g)
	}
	wants(t, v.Commit(ctx, first.ID, pam.VerdictRight), pam.ErrInternal)
	must(t, v.Commit(ctx, second.ID, pam.VerdictRight))
	_, err = v.Stage(ctx, first.ID, first.Account, word("x"), pam.Evidence{})
	wants(t, err, pam.ErrInternal)
	_, err = v.Stage(ctx, second.ID, "another account", word("x"), pam.Evidence{})
	wants(t, err, pam.ErrInternal)
}

// A machine does what jobs and people do to one account, beside a model of it.
type generations struct {
	t        *testing.T
	v        *vault.Vault
	user     pam.UID
	account  pam.UID
	job      *pam.Job
	current  string
	pending  string
	previous string
	rejected string
	made     int
}

func (g *generations) fresh() string {
	g.made++
	return fmt.Sprintf("password %d", g.made)
}

func (g *generations) open(r *rapid.T) {
	if g.job == nil {
		j, err := g.v.CreateJob(g.t.Context(), g.user, pam.JobOptions{})
		if err != nil {
			r.Fatal(err)
		}
		g.job = &j
	}
}

func (g *generations) Stage(r *rapid.T) {
	g.open(r)
	next := g.fresh()
	got, err := g.v.Stage(g.t.Context(), g.job.ID, g.account, word(next), pam.Evidence{})
	if g.job.Committed {
		if err == nil {
			r.Fatal("a committed job staged again")
		}
		return
	}
	if err != nil {
		r.Fatal(err)
	}
	if g.pending == "" {
		g.pending = next
	}
	if string(got.Password.Reveal()) != g.pending {
		r.Fatalf("staged %q, want %q", got.Password.Reveal(), g.pending)
	}
}

func (g *generations) SetOutcome(r *rapid.T) {
	if g.job == nil {
		return
	}
	o := rapid.SampledFrom([]pam.Outcome{pam.OutcomeApplied, pam.OutcomeUnknown, pam.OutcomeRefused}).Draw(r, "outcome")
	err := g.v.SetOutcome(g.t.Context(), g.job.ID, o, pam.Evidence{})
	if err == nil && o == pam.OutcomeRefused {
		g.rejected, g.pending = g.pending, ""
	}
}

func (g *generations) Commit(r *rapid.T) {
	if g.job == nil || g.job.Committed {
		return
	}
	if err := g.v.Commit(g.t.Context(), g.job.ID, pam.VerdictRight); err == nil {
		if g.pending == "" {
			r.Fatal("committed nothing")
		}
		g.previous, g.current, g.pending, g.job.Committed = g.current, g.pending, "", true
	}
}

func (g *generations) End(r *rapid.T) {
	if g.job == nil {
		return
	}
	g.job.State = rapid.SampledFrom([]pam.JobState{pam.JobFinished, pam.JobPartial, pam.JobFailed, pam.JobCancelled}).Draw(r, "state")
	if err := g.v.SetJob(g.t.Context(), *g.job); err != nil {
		r.Fatal(err)
	}
	g.job = nil
}

func (g *generations) Type(r *rapid.T) {
	rec, err := g.v.Record(g.t.Context(), g.user)
	if err != nil {
		r.Fatal(err)
	}
	next := g.fresh()
	rec.Field("password", "").Secret = word(next)
	err = g.v.UpdateRecord(g.t.Context(), rec)
	if held := g.job != nil; held != errors.Is(err, pam.ErrConflict) {
		r.Fatalf("job holds it: %t, got %v", held, err)
	}
	if err == nil {
		g.previous, g.current = g.current, next
	}
}

// Check compares all that can be read with the model.
func (g *generations) Check(r *rapid.T) {
	for status, want := range map[pam.GenerationStatus]string{
		pam.Current: g.current, pam.Pending: g.pending, pam.Previous: g.previous, pam.Rejected: g.rejected,
	} {
		got, err := g.v.Generation(g.t.Context(), g.account, status)
		if want == "" && !errors.Is(err, pam.ErrNotFound) {
			r.Fatalf("%s is %v, want none", status, err)
		}
		if want != "" && (err != nil || string(got.Password.Reveal()) != want) {
			r.Fatalf("%s is %q (%v), want %q", status, got.Password.Reveal(), err, want)
		}
	}
	if n := vault.CountCurrent(g.t.Context(), g.v, g.account); n != 1 {
		r.Fatalf("%d current passwords", n)
	}
}

func TestAPendingPasswordIsNeverLostAndOneIsCurrent(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	made := 0
	rapid.Check(t, func(r *rapid.T) {
		if made++; made > 12 { // each of some thirty steps is several durable transactions
			return
		}
		user, _ := rotatable(t, v, fmt.Sprintf("svc%d", made))
		_, a, err := v.User(t.Context(), user)
		if err != nil {
			r.Fatal(err)
		}
		g := &generations{t: t, v: v, user: user, account: a.UID, current: fmt.Sprintf("first-svc%d", made)}
		r.Repeat(map[string]func(*rapid.T){
			"stage": g.Stage, "outcome": g.SetOutcome, "commit": g.Commit, "end": g.End, "type": g.Type, "": g.Check,
		})
	})
}

func TestAPasswordIsRemovedAndKeptInHistory(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	r, err := v.Record(ctx, user)
	must(t, err)
	job := newJob(t, v, user)
	wants(t, v.RemovePassword(ctx, r), pam.ErrConflict, string(job.ID), "nothing changed")
	if got := passwordOf(t, v, user); got != "first-svc" {
		t.Fatalf("the password is %q while a job holds the account", got)
	}
	job.State = pam.JobFailed
	must(t, v.SetJob(ctx, job))

	r.Fields = r.Fields[:1]
	must(t, v.RemovePassword(ctx, r))
	if got := passwordOf(t, v, user); got != "" {
		t.Errorf("the password is still %q", got)
	}
	if n := vault.CountCurrent(ctx, v, job.Account); n != 0 {
		t.Errorf("the account has %d current passwords", n)
	}
	history, err := v.History(ctx, user)
	must(t, err)
	defer vault.DestroyHistory(history)
	if f := history[1].Field("password", ""); f == nil || string(f.Secret.Reveal()) != "first-svc" {
		t.Errorf("the revision before has %v", f)
	}
	wants(t, v.RemovePassword(ctx, r), pam.ErrConflict, "meanwhile") // the revision is another
	g, err := v.Generation(ctx, job.Account, pam.Previous)
	must(t, err)
	if string(g.Password.Reveal()) != "first-svc" {
		t.Error("the account forgot what its password was")
	}
}
