package pam_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
)

func TestPathsAreReadAsCommanderWritesThem(t *testing.T) {
	for _, row := range []struct {
		path  string
		names []string
	}{
		{"", nil},
		{"/", nil},
		{"Prod", []string{"Prod"}},
		{"/Prod/DB/", []string{"Prod", "DB"}},
		{"Web//Mail", []string{"Web/Mail"}},
		{"/Prod/Web//Mail/x", []string{"Prod", "Web/Mail", "x"}},
		{"a////b", []string{"a//b"}}, // two slashes in a name
		{"//Prod", []string{"Prod"}}, // no name begins with a slash
		{"Prod//", []string{"Prod"}}, // nor ends with one
		{"./../x", []string{".", "..", "x"}},
	} {
		if got := pam.SplitPath(row.path); !slices.Equal(got, row.names) {
			t.Errorf("%q is read as %q, not %q", row.path, got, row.names)
		}
	}
}

func TestAPathGivesItsNamesBack(t *testing.T) {
	name := rapid.StringMatching(`[a-z .]{1,3}(//?[a-z]{1,3}){0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(name, 1, 4).Draw(t, "names")
		path := pam.JoinPath(names)
		for _, p := range []string{path, "/" + path, path + "/"} {
			if got := pam.SplitPath(p); !slices.Equal(got, names) {
				t.Fatalf("%q is read as %q, not %q", p, got, names)
			}
		}
		dir, last := pam.CutPath(path)
		if last != names[len(names)-1] || !strings.HasPrefix(path, dir) || !slices.Equal(pam.SplitPath(dir), names[:len(names)-1]) {
			t.Fatalf("%q is cut into %q and %q", path, dir, last)
		}
	})
}
