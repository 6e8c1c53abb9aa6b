package commands

import (
	"os/exec"
	"strings"
	"testing"
)

func completionScript(t *testing.T, shell string) string {
	t.Helper()
	d, out, _ := bare(t)
	if err := Execute(t.Context(), d, []string{"completion", shell}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The scripts are the library's; what is mended in them must be found in them.
func TestCompletionScriptsAreMended(t *testing.T) {
	t.Parallel()
	for shell, parts := range map[string][]string{
		"bash": {`|| eval "${requestComp}"\' `, `"${cur:1}"*`, `COMPREPLY[0]=${COMPREPLY[0]%%$tab*}`, `elif ((COMP_TYPE == 9))`},
		"zsh":  {`|| eval ${requestComp}\' `},
	} {
		script := completionScript(t, shell)
		for _, p := range parts {
			if !strings.Contains(script, p) {
				t.Errorf("the script for %s lacks %s", shell, p)
			}
		}
	}
}

// inBash is what surrounds the script: the shell's own variables, and a program that
// answers what it is asked for by a word that is begun.
const inBash = `
_init_completion() { COMPREPLY=(); cur=$word; words=(keyturn get "$word"); cword=2; }
compopt() { :; }
keyturn() {
	local w
	for w in 'SRV 1	a machine' 'SRV 2	a login' 'LAB admin	a user' 'P/x y	in a folder'; do
		[[ $w == "$3"* ]] && printf '%s\n' "$w"
	done
	echo :4
}
word=$1 COMP_TYPE=$2 COLUMNS=80
__start_keyturn
printf '%s\n' "${COMPREPLY[@]}"
`

func TestBashCompletesTitlesWithSpaces(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	script := completionScript(t, "bash") + inBash
	const tab, list = "9", "63"
	for _, row := range []struct{ what, word, typ, want string }{
		{"a word", `LA`, tab, `LAB\ admin`},
		{"a word with an escaped space", `LAB\ a`, tab, `LAB\ admin`},
		{"an open quote", `"LA`, tab, `LAB admin`},
		{"the other quote, with the space", `'LAB a`, tab, `LAB admin`},
		{"a path", `"P/x`, tab, `P/x y`},
		{"several begin so: what is inserted is escaped", `SR`, tab, "SRV\\ 1\nSRV\\ 2"},
		{"several begin so, in a quote", `"SR`, tab, "SRV 1\nSRV 2"},
		{"several are listed", `SR`, list, "SRV 1  (a machine)\nSRV 2  (a login)"},
		{"nothing begins so", `"zz`, tab, ``},
	} {
		out, err := exec.CommandContext(t.Context(), bash, "--norc", "-c", script, "bash", row.word, row.typ).Output()
		if err != nil {
			t.Fatalf("%s: %v", row.what, err)
		}
		if got := strings.TrimRight(string(out), "\n"); got != row.want {
			t.Errorf("%s: %s gives %q, not %q", row.what, row.word, got, row.want)
		}
	}
}
