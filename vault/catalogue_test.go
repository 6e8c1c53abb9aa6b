package vault_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// Whatever is done to records, a title is found and a word is searched as if all
// heads were looked through.
func TestTheCatalogueSaysWhatTheHeadsSay(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	titles := rapid.OneOf(rapid.SampledFrom([]string{"SRV", "srv", "ſrv", "K", "\u212a", "a/b", "b", "Straße"}), rapid.StringN(1, 8, -1))
	rapid.Check(t, func(r *rapid.T) {
		title := strings.ToValidUTF8(titles.Draw(r, "title"), "?")
		heads, err := v.Heads(ctx)
		if err != nil {
			r.Fatal(err)
		}
		trash, err := v.Trash(ctx)
		if err != nil {
			r.Fatal(err)
		}
		switch do := rapid.IntRange(0, 4).Draw(r, "do"); {
		case do == 1 && len(heads) > 0:
			rename(ctx, r, v, rapid.SampledFrom(heads).Draw(r, "record").UID, title)
		case do == 2 && len(heads) > 0:
			if err := v.DeleteRecord(ctx, rapid.SampledFrom(heads).Draw(r, "record").UID); err != nil {
				r.Fatal(err)
			}
		case do == 3 && len(trash) > 0:
			if _, err := v.RestoreRecord(ctx, rapid.SampledFrom(trash).Draw(r, "record").UID); err != nil {
				r.Fatal(err)
			}
		default:
			_, _ = v.AddRecord(ctx, machineRecord(title, "h", "Windows")) // some titles are refused
		}
		asTheHeadsSay(ctx, r, v, title)
	})
}

func rename(ctx context.Context, r *rapid.T, v *vault.Vault, uid pam.UID, title string) {
	rec, err := v.Record(ctx, uid)
	if err != nil {
		r.Fatal(err)
	}
	rec.Title = title
	_ = v.UpdateRecord(ctx, rec) // some titles are refused
}

func asTheHeadsSay(ctx context.Context, t rapid.TB, v *vault.Vault, title string) {
	heads, err := v.Heads(ctx)
	if err != nil {
		t.Fatal(err)
	}
	word := strings.ToLower(title)
	match := func(h pam.Head) bool { return strings.Contains(strings.ToLower(h.Title+"\n"+h.Summary), word) }
	want := slices.DeleteFunc(slices.Clone(heads), func(h pam.Head) bool { return !match(h) })
	got, err := v.Search(ctx, match)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("a search for %q finds %v, %v instead of %v", title, got, err, want)
	}
	list, err := v.HeadList(ctx, match)
	if err != nil || !slices.Equal(slices.Collect(list.All()), want) {
		t.Errorf("a list of what has %q is %v, %v instead of %v", title, list, err, want)
	}
	if strings.Contains(title, "/") && title != "a/b" {
		return // it may be the path of another record
	}
	exact := slices.DeleteFunc(slices.Clone(heads), func(h pam.Head) bool { return h.Title != title })
	if len(exact) == 0 {
		exact = slices.DeleteFunc(slices.Clone(heads), func(h pam.Head) bool { return !strings.EqualFold(h.Title, title) })
	}
	found, err := v.Find(ctx, title, "")
	switch kind := pam.KindOf(err); {
	case len(exact) == 1 && (err != nil || found != exact[0]),
		len(exact) == 0 && kind != pam.ErrNotFound,
		len(exact) > 1 && kind != pam.ErrAmbiguous:
		t.Errorf("%q finds %v, %v instead of %v", title, found, err, exact)
	}
}

// A vault without a catalogue is read as before, and has one from its first
// change on.
func TestAnOldVaultGetsACatalogue(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "v1")
	must(t, os.Mkdir(dir, 0o700))
	copyFiles(t, frozen[1], dir)
	for _, name := range []string{"header", "vault.db"} {
		must(t, os.Chmod(filepath.Join(dir, name), 0o600))
	}
	v, err := openAgain(t, dir)
	must(t, err)
	ctx := t.Context()
	for _, title := range []string{"DC01", "svc_app", "nothing"} {
		asTheHeadsSay(ctx, t, v, title)
	}
	add(t, v, machineRecord("SRV1", "h", "Windows"))
	for _, title := range []string{"DC01", "svc_app", "SRV1", "nothing"} {
		asTheHeadsSay(ctx, t, v, title)
	}
	if !vault.Catalogued(ctx, v) {
		t.Error("the vault has no catalogue after its first change")
	}
}
