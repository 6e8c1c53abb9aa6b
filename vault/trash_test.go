package vault_test

import (
	"testing"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

func TestARestoredRecordIsWhatItWas(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, machine := rotatable(t, v, "svc")
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: machine, Kinds: pam.MapTasks}))
	must(t, v.SetResourceSettings(ctx, pam.ResourceSettings{Resource: machine, Disabled: true}))
	before, err := v.Record(ctx, user)
	must(t, err)
	must(t, v.DeleteRecord(ctx, user))
	_, err = v.Record(ctx, user)
	wants(t, err, pam.ErrNotFound)
	in, err := v.TrashedRecord(ctx, user)
	if err != nil || string(in.Field("password", "").Secret.Reveal()) != "first-svc" {
		t.Errorf("in the trash: %+v, %v", in, err)
	}
	trash, err := v.Trash(ctx)
	if err != nil || len(trash) != 1 || trash[0].UID != user || trash[0].Mappings != 1 {
		t.Errorf("the trash is %+v, %v", trash, err)
	}
	out, err := v.RestoreRecord(ctx, user)
	if err != nil || out.Mappings != 1 || out.Lost+out.Waiting != 0 || out.ToRoot {
		t.Errorf("restored %+v, %v", out, err)
	}
	after, err := v.Record(ctx, user)
	if err != nil || after.Title != before.Title || !after.Created.Equal(before.Created) || passwordOf(t, v, user) != "first-svc" {
		t.Errorf("got %+v, %v", after, err)
	}
	if m, err := v.AllMappings(ctx); err != nil || len(m) != 1 || m[0].Kinds != pam.MapTasks {
		t.Errorf("mappings %+v, %v", m, err)
	}
	if _, _, err := v.User(ctx, user); err != nil {
		t.Errorf("its rotation settings: %v", err)
	}
	wants(t, v.Purge(ctx, []pam.UID{user}), pam.ErrNotFound, "not in the trash")
}

func TestAMappingComesBackWithTheLastOfItsRecords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what        string
		userFirst   bool // deleted first
		restoreUser bool // restored first
	}{
		{"the user went first and comes first", true, true},
		{"the user went first and comes last", true, false},
		{"the machine went first and comes first", false, false},
		{"the machine went first and comes last", false, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			v, _ := create(t)
			ctx := t.Context()
			user, machine := rotatable(t, v, "svc")
			must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: machine, Kinds: pam.MapAll}))
			order := func(userFirst bool) []pam.UID {
				if userFirst {
					return []pam.UID{user, machine}
				}
				return []pam.UID{machine, user}
			}
			for _, uid := range order(c.userFirst) {
				must(t, v.DeleteRecord(ctx, uid))
			}
			var sum vault.Restored
			for _, uid := range order(c.restoreUser) {
				out, err := v.RestoreRecord(ctx, uid)
				must(t, err)
				sum.Mappings += out.Mappings
				sum.Lost += out.Lost
			}
			if m, err := v.Mappings(ctx, user); err != nil || len(m) != 1 || sum.Mappings != 1 || sum.Lost != 0 {
				t.Errorf("mappings %+v, %v; said %+v", m, err, sum)
			}
		})
	}
}

func TestWhatIsGoneIsSaid(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, machine := rotatable(t, v, "svc")
	folder, err := v.AddFolder(ctx, "F", "")
	must(t, err)
	change(t, v, user, func(r *pam.Record) { r.Folder = folder })
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: machine, Kinds: pam.MapAll}))
	must(t, v.DeleteRecord(ctx, user))
	must(t, v.DeleteRecord(ctx, machine))
	must(t, v.DeleteFolder(ctx, folder))
	must(t, v.Purge(ctx, []pam.UID{machine}))
	out, err := v.RestoreRecord(ctx, user)
	if err != nil || !out.ToRoot || out.Lost != 1 {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestPurgeTakesAllOrNothing(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	a, b := add(t, v, userRecord("a", "a", "a")), add(t, v, userRecord("b", "b", "b"))
	change(t, v, a, func(r *pam.Record) { r.Title = "a2" })
	must(t, v.DeleteRecord(ctx, a))
	wants(t, v.Purge(ctx, []pam.UID{a, b}), pam.ErrNotFound)
	if trash, err := v.Trash(ctx); err != nil || len(trash) != 1 {
		t.Errorf("the trash is %+v, %v", trash, err)
	}
	must(t, v.Purge(ctx, []pam.UID{a}))
	_, err := v.RestoreRecord(ctx, a)
	wants(t, err, pam.ErrNotFound)
	c, err := v.Check(ctx)
	must(t, err)
	if c.Records != 1 || c.Passwords != 2 {
		t.Errorf("left: %+v; the account's password stays", c)
	}
}

// The account of a record in the trash proves to be another record's: restored,
// it shows the password that this account has.
func TestARecordInTheTrashFollowsItsAccount(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	stays, _ := rotatable(t, v, "stays")
	goes, _ := rotatable(t, v, "goes")
	_, from, err := v.User(ctx, goes)
	must(t, err)
	_, to, err := v.User(ctx, stays)
	must(t, err)
	must(t, v.DeleteRecord(ctx, goes))
	_, err = v.Identify(ctx, to.UID, pam.Identity{Alias: "S-1"})
	must(t, err)
	_, err = v.Identify(ctx, from.UID, pam.Identity{Alias: "S-1"})
	must(t, err)
	rotate(t, v, stays, "rotated")
	_, err = v.RestoreRecord(ctx, goes)
	must(t, err)
	if got := passwordOf(t, v, goes); got != "rotated" {
		t.Errorf("it shows %q", got)
	}
}
