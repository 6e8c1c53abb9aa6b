package commands

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
)

func newCompletion(d *Deps) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	cmd := &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that completes keyturn's words in your shell",
		Long: `Print a script that completes commands, flags and their values, titles, paths
and UIDs of records, folders, gateways and job ids. What is in the vault is
completed where a command would not ask for its password.

SHELL is one of ` + strings.Join(shells, ", ") + `.
In bash it needs the package bash-completion.`,
		Example: "  source <(keyturn completion bash)\n  keyturn completion zsh > \"${fpath[1]}/_keyturn\"\n" +
			"  keyturn completion fish > ~/.config/fish/completions/keyturn.fish\n" +
			"  keyturn completion powershell | Out-String | Invoke-Expression",
		Args:      positional("SHELL"),
		ValidArgs: shells,
		// The script is text of the program's own: it has tabs, and is written as it is.
		Annotations: notes(annotTargets, targetFile),
	}
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		to, err := c.resultTo(c.target)
		if err != nil {
			return output.View{}, err
		}
		defer to.abandon()
		script, err := scriptFor(cmd.Root(), strings.ToLower(c.args[0]))
		switch {
		case errors.Is(err, errNoSuchShell):
			return output.View{}, usagef("unknown shell %q: it is %s", c.args[0], strings.Join(shells, ", "))
		case err != nil:
			return output.View{}, err
		case c.format != output.FormatTable:
			return textView(script), nil
		case to.name == "":
			_, err = io.WriteString(c.Out, script)
		default:
			err = to.write([]byte(script))
		}
		return output.View{}, err
	})
}

var errNoSuchShell = errors.New("no such shell")

func scriptFor(root *cobra.Command, shell string) (string, error) {
	var script bytes.Buffer
	var err error
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(&script, true)
	case "zsh":
		err = root.GenZshCompletion(&script)
	case "fish":
		err = root.GenFishCompletion(&script, true)
	case "powershell":
		err = root.GenPowerShellCompletionWithDesc(&script)
	default:
		err = errNoSuchShell
	}
	return quotable(script.String()), err
}

// quotable mends the scripts of the library, which complete nothing in quotes that
// are still open, as in: keyturn get "LAB ad. In bash, what several words begin with
// was inserted without the backslash before its spaces, too.
func quotable(script string) string {
	return strings.NewReplacer(
		`out=$(eval "${requestComp}" 2>/dev/null)`, closedQuotes(`"${requestComp}"`),
		`out=$(eval ${requestComp} 2>/dev/null)`, closedQuotes(`${requestComp}`),
		bashMatch, bashMatchQuoted,
		bashSingle, bashSingleQuoted,
		bashSeveral, bashSeveralQuoted,
	).Replace(script)
}

// closedQuotes asks for completions once more with a closing quote, if the shell
// cannot read the line without.
func closedQuotes(request string) string {
	try := "eval " + request
	return "out=$(" + try + " 2>/dev/null || " + try + `\" 2>/dev/null || ` + try + `\' 2>/dev/null)`
}

// What the library's script for bash does with each word, a single one, and several.
const (
	bashMatch       = `        [[ $comp == "$cur"* ]] || continue` + "\n"
	bashMatchQuoted = `        if [[ $cur == [\"\']* ]]; then
            [[ ${compline%%$tab*} == "${cur:1}"* ]] || continue
        else
            [[ $comp == "$cur"* ]] || continue
        fi
`
	bashSingle       = `        COMPREPLY[0]=$(printf "%q" "${COMPREPLY[0]%%$tab*}")` + "\n"
	bashSingleQuoted = `        COMPREPLY[0]=${COMPREPLY[0]%%$tab*}
        [[ $cur == [\"\']* ]] || COMPREPLY[0]=$(printf "%q" "${COMPREPLY[0]}")
`
	bashSeveral       = "    else\n        # Format the descriptions\n"
	bashSeveralQuoted = `    elif ((COMP_TYPE == 9)); then
        # Nothing is listed yet: what all of them begin with is inserted.
        COMPREPLY=("${COMPREPLY[@]%%$tab*}")
        [[ $cur == [\"\']* ]] || IFS=$'\n' read -ra COMPREPLY -d '' < <(printf "%q\n" "${COMPREPLY[@]}")
` + bashSeveral
)
