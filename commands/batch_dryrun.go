package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// unshown stands for the part of a refused line that may hold a secret.
const unshown = "..."

// try shows a line and finds what is wrong with its words, as far as that can be
// known without running it. Nobody knows what a refused line was to be, so that of
// it the command alone is shown.
func (b *batch) try(_ context.Context, words []string) error {
	cmd, err := b.check(words) //nolint:contextcheck // nothing of it runs
	if err != nil {
		b.shown = append(b.shown, strings.TrimSpace(pathOf(cmd)+" "+unshown))
		return err
	}
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = Quote(withoutSecret(w))
	}
	if cmd.Name() == commandSet {
		shown[len(shown)-1] = masked
	}
	b.shown = append(b.shown, strings.Join(shown, " "))
	return nil
}

// check reads the words and flags of a line that does not run, and returns its
// command.
func (b *batch) check(words []string) (*cobra.Command, error) {
	globals := b.Session.Globals
	defer func() { b.Session.Globals = globals }() // the flags of a line that does not run
	root := newRoot(b.Deps, words)
	args, err := prepare(root, words)
	if err != nil {
		cmd, _ := descend(root, slices.Clone(words))
		return cmd, err
	}
	cmd, rest := descend(root, args)
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(args[rest:]); err != nil {
		return cmd, cmd.FlagErrorFunc()(cmd, err)
	}
	if help, err := cmd.Flags().GetBool("help"); err == nil && help {
		return cmd, nil
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return cmd, err
	}
	return cmd, missing(cmd)
}

// withoutSecret is a word of a command line without the secret that it carries.
func withoutSecret(word string) string {
	a, err := ParseAssignment(word)
	if err != nil || !isSecretType(a.Type) || a.Value == "" || a.Value[0] == '@' && !strings.HasPrefix(a.Value, "@@") ||
		strings.HasPrefix(a.Value, valueGenerate) {
		return word
	}
	return a.Name() + "=" + masked
}

// found is what a dry run found: the lines, and the first of those that would be
// refused as its failure, with the others told before it.
func (b *batch) found(c *call) (output.View, error) {
	text := count(b.shown) + " command(s) would be run; none was."
	if n := len(b.refused); n > 0 {
		text = fmt.Sprintf("%d of %d command(s) would be refused; none was run.", n, len(b.shown))
	}
	v := messageView(text, map[string]any{"commands": append([]string{}, b.shown...), "refused": refusals(b.refused)})
	if !b.quiet {
		v.Before = append(b.shown, v.Before...)
	}
	switch len(b.refused) {
	case 0:
		return v, nil
	case 1:
		return v, b.refused[0]
	}
	for _, err := range b.refused {
		c.newsf("%s", message(err))
		if hint := pam.HintOf(err); hint != "" {
			c.newsf("hint: %s", hint)
		}
	}
	first := b.refused[0]
	return v, pam.Errorf(pam.KindOf(first), "%d lines would be refused; none was run; the first one is %s", len(b.refused), message(first))
}

// A refusal is a line that a dry run refused, in JSON.
type refusal struct {
	Kind    pam.Kind `json:"kind"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`
}

func refusals(errs []error) []refusal {
	docs := []refusal{}
	for _, err := range errs {
		docs = append(docs, refusal{pam.KindOf(err), message(err), pam.HintOf(err)})
	}
	return docs
}
