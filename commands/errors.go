package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// A groupError is a word that a group of commands does not know. It carries the
// group's help, which is shown below it.
type groupError struct {
	err  *pam.Error
	help output.View
}

func (e *groupError) Error() string { return e.err.Error() }

func (e *groupError) Unwrap() error { return e.err }

// A failure is the JSON form of an error.
type failure struct {
	Error failureBody `json:"error"`
}

type failureBody struct {
	Code    int      `json:"code"`
	Kind    pam.Kind `json:"kind"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`
}

// Report writes err to d.Err as people or, where the command asked for JSON,
// scripts want it, and returns the exit code: zero for no error.
func (d *Deps) Report(err error, args []string) int {
	if err == nil {
		return 0
	}
	kind := pam.KindOf(err)
	if asksForJSON(args) {
		doc := failure{failureBody{Code: kind.Code(), Kind: kind, Message: message(err), Hint: pam.HintOf(err)}}
		if text, jsonErr := output.Marshal(doc); jsonErr == nil {
			_, _ = d.Err.Write(text)
		}
		return kind.Code()
	}
	d.sayf("keyturn: %s", message(err))
	if hint := pam.HintOf(err); hint != "" {
		d.sayf("hint: %s", hint)
	}
	var g *groupError
	if errors.As(err, &g) && len(g.help.Tables) > 0 {
		fmt.Fprintln(d.Err)
		_ = output.Render(d.Err, output.FormatTable, g.help, 0)
	}
	return kind.Code()
}

// message is the text of err without what only a programmer wants to read. A
// typed error knows best what was changed, also where an interrupt is its cause.
func message(err error) string {
	var typed *pam.Error
	switch {
	case errors.As(err, &typed):
	case errors.Is(err, context.Canceled):
		return "interrupted; nothing changed"
	case errors.Is(err, ErrNoTerminal):
		return ErrNoTerminal.Error()
	}
	return err.Error()
}

// sayf writes one line of news for people to standard error. Each line of the
// text is cleaned on its own: messages of several lines list candidates.
func (d *Deps) sayf(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintln(d.Err, output.Clean(line))
	}
}

// newsf says what goes on, where standard error is for people: with --format json
// a failure there is one document.
func (c *call) newsf(format string, args ...any) {
	if c.format == output.FormatTable {
		c.sayf(format, args...)
	}
}

// asksForJSON reports whether a command line asks for JSON. It looks at the
// words, because a line that cannot be parsed fails in JSON too.
func asksForJSON(args []string) bool {
	for i, a := range args {
		if a == "--" {
			return false
		}
		value, ok := strings.CutPrefix(a, "--format=")
		if a == "--format" && i+1 < len(args) {
			value, ok = args[i+1], true
		}
		if ok {
			return strings.HasPrefix(strings.ToLower(value), string(output.FormatJSON))
		}
	}
	return false
}

func usagef(format string, args ...any) *pam.Error { return pam.Errorf(pam.ErrUsage, format, args...) }

func joined[T ~string](words []T) string { return joinedBy(words, ", ") }

func joinedBy[T ~string](words []T, separator string) string {
	plain := make([]string, len(words))
	for i, w := range words {
		plain[i] = string(w)
	}
	return strings.Join(plain, separator)
}
