package selftest_test

import (
	"regexp"
	"strings"
	"testing"

	"keyturn/pkg/lab/selftest"
	"keyturn/pkg/powershell"
	"keyturn/pkg/powershell/linttest"
)

func script(t *testing.T) map[string][]byte {
	t.Helper()
	b, err := selftest.Own()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"selftest.ps1": b}
}

// The script is sent to machines that matter: it passes the gates of the one
// that ships.
func TestScriptIsLinted(t *testing.T) {
	linttest.Check(t, script(t), powershell.Library(), "testdata/lint.json")
}

func TestScriptPassesTheGates(t *testing.T) {
	t.Parallel()
	r, err := linttest.ReadRecord("testdata/lint.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := linttest.ReadCatalog("../../powershell/testdata/ps-catalog.json")
	if err != nil {
		t.Fatal(err)
	}
	text := string(script(t)["selftest.ps1"])
	// Functions of the shipped script are ours too, and must be there.
	defined := regexp.MustCompile(`(?m)^function ([\w-]+)`)
	shipped := map[string]bool{}
	for _, m := range defined.FindAllStringSubmatch(string(powershell.Library()), -1) {
		shipped[m[1]] = true
	}
	for i, f := range r.Commands {
		if strings.Contains(f.Name, "-Wsx") {
			r.Commands[i].Ours = shipped[f.Name]
		}
	}
	methods := append(linttest.ProductMethods(), "AddUser", "AddService", "Contains")
	for gate, bad := range map[string][]string{
		"commands": c.Missing(r.Commands), "bound": linttest.Bound(r.Commands),
		"leaks": linttest.Leaks(text, methods), "forbidden": linttest.Forbidden("selftest.ps1", text),
	} {
		for _, b := range bad {
			t.Errorf("%s: %s", gate, b)
		}
	}
}
