package vault_test

import (
	"testing"

	"keyturn/pkg/pam"
)

func TestAFolderIsMovedWithWhatIsInIt(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	folder := func(name string, parent pam.UID) pam.UID {
		uid, err := v.AddFolder(ctx, name, parent)
		must(t, err)
		return uid
	}
	prod := folder("Prod", "")
	db := folder("DB", prod)
	deep := folder("deep", db)
	test := folder("Test", "")

	for what, f := range map[string]pam.Folder{
		"into itself":      {UID: prod, Name: "Prod", Parent: prod},
		"below itself":     {UID: prod, Name: "Prod", Parent: deep},
		"to a taken name":  {UID: test, Name: "PROD"},
		"to a taken place": {UID: db, Name: "test"},
	} {
		t.Log(what)
		wants(t, v.PutFolder(ctx, f), pam.ErrConflict, "nothing changed")
	}
	wants(t, v.PutFolder(ctx, pam.Folder{UID: db, Name: "/b"}), pam.ErrInvalidInput)
	wants(t, v.PutFolder(ctx, pam.Folder{UID: db, Name: "DB", Parent: "nosuch"}), pam.ErrNotFound)
	wants(t, v.PutFolder(ctx, pam.Folder{UID: "nosuch", Name: "DB"}), pam.ErrNotFound)

	must(t, v.PutFolder(ctx, pam.Folder{UID: db, Name: "Databases", Parent: test}))
	must(t, v.PutFolder(ctx, pam.Folder{UID: test, Name: "TEST"})) // its own name in another case
	if path, err := v.FolderPath(ctx, deep); err != nil || path != "/TEST/Databases/deep" {
		t.Errorf("got %s (%v)", path, err)
	}
	must(t, v.DeleteFolder(ctx, prod))
}
