package vault_test

import (
	"strings"
	"testing"

	"keyturn/pkg/pam"
)

func TestFind(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	prod, err := v.AddFolder(ctx, "Prod", "")
	must(t, err)
	db, err := v.AddFolder(ctx, "DB", prod)
	must(t, err)
	test, err := v.AddFolder(ctx, "Test", "")
	must(t, err)
	in := func(folder pam.UID, title string) pam.UID {
		r := machineRecord(title, "h", "Windows")
		r.Folder = folder
		return add(t, v, r)
	}
	srvProd, srvTest := in(prod, "SRV1"), in(test, "SRV1")
	lower, upper := in("", "case"), in("", "CASE")
	deep, slash := in(db, "Deep"), in("", "a/b")
	for _, c := range []struct {
		what, name string
		cwd        pam.UID
		want       pam.UID
		fails      pam.Kind
	}{
		{"a UID", string(deep), "", deep, ""},
		{"an absolute path", "/Prod/SRV1", test, srvProd, ""},
		{"a path from the current folder", "DB/Deep", prod, deep, ""},
		{"a dot path", "./SRV1", test, srvTest, ""},
		{"a path upwards", "../Test/SRV1", prod, srvTest, ""},
		{"a path without case", "/prod/srv1", "", srvProd, ""},
		{"a title anywhere", "Deep", "", deep, ""},
		{"a title without case", "deep", "", deep, ""},
		{"exact case goes first", "CASE", "", upper, ""},
		{"exact case goes first, the other way", "case", "", lower, ""},
		{"neither case is exact", "Case", "", "", pam.ErrAmbiguous},
		{"two of one title", "SRV1", "", "", pam.ErrAmbiguous},
		{"a slash in a title", "a/b", prod, slash, ""},
		{"a slash in a title, from the root", "/a/b", "", "", pam.ErrNotFound},
		{"nothing", "nope", "", "", pam.ErrNotFound},
		{"a path into nothing", "/Nope/SRV1", "", "", pam.ErrNotFound},
		{"empty", "", "", "", pam.ErrNotFound},
	} {
		t.Run(c.what, func(t *testing.T) {
			h, err := v.Find(ctx, c.name, c.cwd)
			if c.fails != "" {
				wants(t, err, c.fails)
				return
			}
			if err != nil || h.UID != c.want {
				t.Errorf("got %v, %v", h, err)
			}
		})
	}
	_, err = v.Find(ctx, "SRV1", "")
	wants(t, err, pam.ErrAmbiguous, "pamMachine", "/Prod/SRV1", "/Test/SRV1", string(srvProd), string(srvTest))
}

func TestHeadsAreSorted(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	for _, title := range []string{"b", "A", "c", "B"} {
		add(t, v, machineRecord(title, "h", "Windows"))
	}
	heads, err := v.Heads(t.Context())
	must(t, err)
	titles := ""
	for _, h := range heads {
		titles += h.Title
		if h.Summary != "h:5986" {
			t.Errorf("summary is %q", h.Summary)
		}
	}
	if strings.ToLower(titles) != "abbc" {
		t.Errorf("got %s", titles)
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	prod, err := v.AddFolder(ctx, "Prod", "")
	must(t, err)
	db, err := v.AddFolder(ctx, "db", prod)
	must(t, err)
	_, err = v.AddFolder(ctx, "alpha", "")
	must(t, err)
	_, err = v.AddFolder(ctx, "DB", prod)
	wants(t, err, pam.ErrConflict, "/Prod/db")
	_, err = v.AddFolder(ctx, "x", pam.UID("nosuchfolder"))
	wants(t, err, pam.ErrNotFound)
	for _, name := range []string{"", " ", ".", "..", "/a", "a/", "\xff"} {
		_, err := v.AddFolder(ctx, name, "")
		wants(t, err, pam.ErrInvalidInput)
	}
	folders, err := v.Folders(ctx)
	must(t, err)
	if len(folders) != 3 || folders[0].Name != "alpha" || folders[1].UID != prod || folders[2].UID != db {
		t.Errorf("got %v", folders)
	}
	for path, want := range map[string]pam.UID{"/": "", "": db, "..": prod, "../..": "", "/prod/DB": db, string(prod): prod, "../../../..": ""} {
		if got, err := v.FindFolder(ctx, path, db); err != nil || got != want {
			t.Errorf("%q from /Prod/db is %q, %v", path, got, err)
		}
	}
	_, err = v.FindFolder(ctx, "nope", "")
	wants(t, err, pam.ErrNotFound, "nope")
	if path, err := v.FolderPath(ctx, db); err != nil || path != "/Prod/db" {
		t.Errorf("got %s, %v", path, err)
	}
	wants(t, v.DeleteFolder(ctx, prod), pam.ErrConflict, "/Prod", "not empty")
	must(t, v.DeleteFolder(ctx, db))
	must(t, v.DeleteFolder(ctx, prod))
	wants(t, v.DeleteFolder(ctx, prod), pam.ErrNotFound)
}

// Look is Find, Record and FolderPath at one moment.
func TestLookFindsAllOfARecord(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	prod, err := v.AddFolder(ctx, "Prod", "")
	must(t, err)
	db, err := v.AddFolder(ctx, "db", prod)
	must(t, err)
	user := userRecord("svc", "svc_app", "its password")
	user.Folder = db
	uid := add(t, v, user)
	add(t, v, machineRecord("top", "host", "Windows"))
	for name, want := range map[string]string{string(uid): "/Prod/db", "svc": "/Prod/db", "/Prod/db/SVC": "/Prod/db", "top": "/"} {
		r, path, err := v.Look(ctx, name, "")
		must(t, err)
		h, err := v.Find(ctx, name, "")
		must(t, err)
		if r.Head != h || path != want {
			t.Errorf("%s is %v in %s instead of %v in %s", name, r.Head, path, h, want)
		}
	}
	r, _, err := v.Look(ctx, "svc", "")
	must(t, err)
	if f := r.Field("password", ""); f == nil || string(f.Secret.Reveal()) != "its password" {
		t.Errorf("the password is not there: %v", f)
	}
	_, _, err = v.Look(ctx, "nobody", "")
	wants(t, err, pam.ErrNotFound, `there is no record "nobody"`)
}

func TestCalledFindsATitleWhateverItsCase(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	uid := add(t, v, userRecord("Sql Service", "svc_sql", "x"))
	add(t, v, userRecord("Sql", "svc", "x"))
	for title, want := range map[string]int{"sql service": 1, "SQL SERVICE": 1, "Sql Serv": 0} {
		heads, err := v.Called(t.Context(), title)
		if err != nil || len(heads) != want || want == 1 && heads[0].UID != uid {
			t.Errorf("%q: %v, %v", title, heads, err)
		}
	}
}
