package vault_test

import (
	"errors"
	"slices"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

func TestAnImportIsAllOrNothing(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	good := vault.Import{Record: userRecord("good", "g", "pw"), Folder: []string{"A", "B"}}
	for _, c := range []struct {
		what string
		bad  vault.Import
	}{
		{"a record without a title", vault.Import{Record: userRecord(" ", "b", "pw")}},
		{"text that is no UTF-8", vault.Import{Record: userRecord("b\xff", "b", "pw")}},
		{"a folder that cannot be", vault.Import{Record: userRecord("b", "b", "pw"), Folder: []string{".."}}},
	} {
		_, err := v.Import(ctx, []vault.Import{good, c.bad}, vault.ImportOptions{})
		at, ok := errors.AsType[*vault.ImportError](err)
		if !ok || at.Index != 1 || pam.KindOf(err) != pam.ErrInvalidInput {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	for range 2 { // a dry run keeps nothing, so that the second finds the same
		actions, err := v.Import(ctx, []vault.Import{good, good}, vault.ImportOptions{DryRun: true})
		if err != nil || !slices.Equal(actions, []vault.ImportAction{vault.ImportAdd, vault.ImportAdd}) {
			t.Errorf("dry run: %v, %v", actions, err)
		}
	}
	folders, err := v.Folders(ctx)
	must(t, err)
	if heads, err := v.Heads(ctx); err != nil || len(heads)+len(folders) != 0 {
		t.Errorf("left behind: %v %v, %v", heads, folders, err)
	}
	if _, err := v.Import(ctx, []vault.Import{good, good}, vault.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if folders, err = v.Folders(ctx); err != nil || len(folders) != 2 {
		t.Errorf("folders %v, %v", folders, err)
	}
}

func TestAnImportedRecordKeepsItsUID(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	in := func(uid pam.UID, password string) []vault.Import {
		r := userRecord("u", "u", password)
		r.UID = uid
		return []vault.Import{{Record: r}}
	}
	const uid = "BIMPORTEDRECORD0000001"
	imports := func(uid pam.UID, password string, o vault.ImportOptions, want vault.ImportAction) {
		t.Helper()
		if got, err := v.Import(ctx, in(uid, password), o); err != nil || got[0] != want {
			t.Errorf("got %v, %v; want %s", got, err, want)
		}
	}
	imports(uid, "one", vault.ImportOptions{}, vault.ImportAdd)
	imports(uid, "two", vault.ImportOptions{}, vault.ImportSkip)
	if got := passwordOf(t, v, uid); got != "one" {
		t.Errorf("a skipped record became %s", got)
	}
	imports(uid, "two", vault.ImportOptions{Update: true}, vault.ImportUpdate)
	if got := states(t, v, uid); got != "u/u/two u/u/one" {
		t.Errorf("an updated record: %s", got)
	}
	must(t, v.DeleteRecord(ctx, uid))
	imports(uid, "three", vault.ImportOptions{}, vault.ImportAdd) // its UID is that of a record in the trash
	_, err := v.RestoreRecord(ctx, uid)
	must(t, err)
	imports("--not a UID", "four", vault.ImportOptions{}, vault.ImportSkip) // it is like one that is there
	imports("--not a UID", "four", vault.ImportOptions{}, vault.ImportSkip)
	if heads, err := v.Heads(ctx); err != nil || len(heads) != 2 {
		t.Errorf("got %v, %v", heads, err)
	}
	_, err = v.Check(ctx)
	must(t, err)
}

func TestARecordWithoutAUIDIsKnownByWhatItIs(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	row := func(title, login, password string, folder ...string) vault.Import {
		return vault.Import{Record: userRecord(title, login, password), Folder: folder}
	}
	imports := func(what string, o vault.ImportOptions, rows []vault.Import, want ...vault.ImportAction) {
		t.Helper()
		if got, err := v.Import(ctx, rows, o); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v; want %v", what, got, err, want)
		}
	}
	update := vault.ImportOptions{Update: true}
	const add, change, skip = vault.ImportAdd, vault.ImportUpdate, vault.ImportSkip
	imports("the first time", update, []vault.Import{row("u", "u", "one", "A")}, add)
	imports("again", update, []vault.Import{row("u", "u", "two", "a")}, change)
	imports("without --update", vault.ImportOptions{}, []vault.Import{row("u", "u", "three", "A")}, skip)
	h, err := v.Find(ctx, "/A/u", "")
	must(t, err)
	if got := passwordOf(t, v, h.UID); got != "two" {
		t.Errorf("the password is %s", got)
	}
	imports("another folder, login or title", update, []vault.Import{row("u", "u", "x"), row("u", "w", "x", "A"), row("w", "u", "x", "A")},
		add, add, add)
	twins := []vault.Import{row("t", "t", "one"), row("t", "t", "two")}
	imports("two that are alike", update, twins, add, add)
	imports("the same two again", vault.ImportOptions{}, append(twins, row("t", "t", "three")), skip, skip, add)
	_, err = v.Import(ctx, twins, update)
	wants(t, err, pam.ErrConflict, "3 records")
	_, err = v.Check(ctx)
	must(t, err)
}

func TestAnImportSaysHowFarItIs(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	var heard []int
	records := []vault.Import{{Record: userRecord("a", "a", "pw")}, {Record: userRecord("b", "b", "pw")}}
	_, err := v.Import(t.Context(), records, vault.ImportOptions{On: func(done int) { heard = append(heard, done) }})
	must(t, err)
	if !slices.Equal(heard, []int{1, 2}) {
		t.Errorf("heard %v", heard)
	}
}

func TestAnImportLeavesAHeldCredentialAlone(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	r := userRecord("svc", `LAB\svc`, "typed")
	r.UID = user
	records := []vault.Import{{Record: userRecord("first", "f", "pw")}, {Record: r}}
	_, err := v.Import(ctx, records, vault.ImportOptions{Update: true})
	wants(t, err, pam.ErrConflict, string(j.ID))
	if _, err := v.Find(ctx, "first", ""); !errors.Is(err, pam.ErrNotFound) {
		t.Errorf("half of it was imported: %v", err)
	}
}

func TestAnImportedMachineBelongsToAConfiguration(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	configurations, err := v.Configurations(t.Context())
	must(t, err)
	records := []vault.Import{{Record: machineRecord("m", "h", "windows")}}
	_, err = v.Import(t.Context(), records, vault.ImportOptions{Configuration: configurations[0].UID})
	must(t, err)
	h, err := v.Find(t.Context(), "m", "")
	must(t, err)
	if s, err := v.ResourceSettings(t.Context(), h.UID); err != nil || s.Configuration != configurations[0].UID {
		t.Errorf("got %+v, %v", s, err)
	}
}
