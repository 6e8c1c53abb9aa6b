package commands

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"

	"keyturn/commands/output"
)

func count[T any](list []T) string { return strconv.Itoa(len(list)) }

// messageView is the result of a command that has only a sentence to say; the
// document has it as "message" beside the given facts.
func messageView(text string, facts map[string]any) output.View {
	doc := map[string]any{"message": text}
	maps.Copy(doc, facts)
	return output.View{
		Before:   []string{text},
		CSV:      &output.Table{Header: []string{"Message"}, Rows: [][]string{{text}}},
		Document: doc,
	}
}

// shownIf is the view of a change, or its failure and nothing to show: a result
// on standard output must not stand for something that was refused.
func shownIf(err error, v output.View) (output.View, error) {
	if err != nil {
		return output.View{}, err
	}
	return v, nil
}

// confirm asks a question on the terminal. Without one it fails and names the
// flag that answers.
func (d *Deps) confirm(ctx context.Context, question, flag string) error {
	answer, err := d.ReadLine(ctx, question+" [y/n]: ")
	if errors.Is(err, ErrNoTerminal) {
		return usagef("%s There is no terminal to ask on; nothing was changed", question).WithHint("%s answers yes", flag)
	}
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return usagef("not confirmed; nothing was changed")
}

func isNoTerminal(err error) bool { return errors.Is(err, ErrNoTerminal) }
