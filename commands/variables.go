package commands

import (
	"context"
	"regexp"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

var (
	variableName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) })
	variableUse  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`) })
)

// set gives a variable a value, which is copied: it may be a secret.
func (s *Session) set(name string, value secret.Value) error {
	if !variableName().MatchString(name) {
		return usagef("%q is no name for a variable: it has letters, digits and _", name)
	}
	if s.variables == nil {
		s.variables = map[string]secret.Value{}
	}
	s.variables[name].Destroy()
	s.variables[name] = value.Clone()
	return nil
}

// expand replaces ${NAME} in the words of a line by the variable's value. A name
// that was not set stays as it is. A value is never split into words.
func (s *Session) expand(words []string) []string {
	if len(s.variables) == 0 {
		return words
	}
	expanded := make([]string, len(words))
	for i, w := range words {
		expanded[i] = variableUse().ReplaceAllStringFunc(w, func(use string) string {
			if v, ok := s.variables[use[2:len(use)-1]]; ok {
				return string(v.Reveal())
			}
			return use
		})
		expanded[i] = literal(w, expanded[i])
	}
	return expanded
}

// literal keeps a variable's value for a secret what it is: one that begins with @
// is not the name of a file.
func literal(word, expanded string) string {
	a, err := ParseAssignment(word)
	if err != nil || !isSecretType(a.Type) || !strings.HasPrefix(a.Value, "${") {
		return expanded
	}
	name := word[:len(word)-len(a.Value)]
	if value, ok := strings.CutPrefix(expanded, name); ok && strings.HasPrefix(value, "@") {
		return name + "@" + value
	}
	return expanded
}

// commandSet gives a variable a value, which may be a secret.
const commandSet = "set"

func newSet(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:   commandSet + " NAME VALUE",
		Short: "Set a variable for later lines",
		Long: `Set a variable that later lines of the same shell or batch use as ${NAME}. It
ends with the shell or batch; nothing is saved.`,
		Example: "  set MACHINE SRV1\n  get ${MACHINE}",
		Args:    discreet("NAME", "VALUE"),
	}
	cmd.ValidArgsFunction = nothing
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		if !c.Interactive && !c.Session.batch {
			return output.View{}, usagef("a variable set by a single command would be gone at once").
				WithHint("set is for the shell, run-batch and keyturn -")
		}
		return output.View{}, c.Session.set(c.args[0], secret.Copy([]byte(c.args[1])))
	})
}

func newEcho(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "echo [WORD...]",
		Short:   "Print words, with variables replaced",
		Long:    "Print words, with ${NAME} replaced by what set gave it.",
		Example: "  echo ${MACHINE}",
		Args:    cobra.ArbitraryArgs,
	}
	cmd.ValidArgsFunction = nothing
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		return messageView(strings.Join(c.args, " "), nil), nil
	})
}

func newHistory(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "history",
		Aliases: []string{"h"},
		Short:   "Show the lines typed in the shell",
		Long: `Show the lines typed in the shell, the oldest first. Lines that may carry a
secret are not kept: what gives one to a field, "set", and what begins with no
command.`,
		Example: "  history",
		Args:    positional(),
	}
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		if c.History == nil {
			return output.View{}, usagef("there is a history in the shell only").WithHint("keyturn shell")
		}
		lines := c.History()
		t := output.Table{Header: []string{"line"}}
		for _, l := range lines {
			t.Rows = append(t.Rows, []string{l})
		}
		return output.View{Before: lines, CSV: &t, Document: map[string]any{"lines": lines}}, nil
	})
}

// clearScreen moves the cursor home and erases everything below it.
const clearScreen = "\x1b[H\x1b[2J"

func newClear(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "clear",
		Aliases: []string{"c", "cls"},
		Short:   "Clear the screen",
		Long:    "Clear the screen. Where the output is no terminal it does nothing.",
		Example: "  clear",
		Args:    positional(),
	}
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		if !c.OutIsTerminal() {
			return output.View{}, nil
		}
		if _, err := c.Out.Write([]byte(clearScreen)); err != nil {
			return output.View{}, pam.Errorf(pam.ErrIO, "clear the screen: %w", err)
		}
		return output.View{}, nil
	})
}
