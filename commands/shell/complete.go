package shell

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	prompt "github.com/c-bata/go-prompt"
	"github.com/spf13/cobra"

	"keyturn/commands"
)

// complete asks the tree what may follow: commands and sub-commands, flags and
// their values, records, folders, gateways and jobs. It asks nobody anything
// and prints nothing.
func (s *shell) complete(d prompt.Document) []prompt.Suggest {
	line := d.TextBeforeCursor()
	if d.Text != "" { // else the library begins anew, as it does at every key
		s.drawn(d)
	}
	words := commands.Words(line)
	if len(words) == 0 || strings.HasPrefix(words[0].Text, "#") {
		return nil
	}
	args := []string{cobra.ShellCompRequestCmd}
	for i, w := range words {
		if i == 0 && w.End < len(line) && w.Text == commands.Program { // as hints write it
			continue
		}
		args = append(args, w.Text)
	}
	typed, want := "", ""
	if last := words[len(words)-1]; last.End == len(line) {
		typed, want = line[last.Start:], last.Text
		args = args[:len(args)-1]
	}
	answer, ok := s.ask(append(args, asked(want)))
	if !ok {
		return nil
	}
	found := suggestions(answer, typed, want)
	slices.SortStableFunc(found, func(a, b prompt.Suggest) int { return s.rank(a) - s.rank(b) })
	return found
}

// asked is as much of a word as decides what the tree lists: which of it goes on from
// the word is found out here, so that the letters of a word cost one answer.
func asked(word string) string {
	if strings.HasPrefix(word, "-") {
		if name, _, ok := strings.Cut(word, "="); ok {
			return name + "="
		}
		return "-"
	}
	return word[:strings.LastIndexByte(word, '/')+1]
}

// ask has the tree answer what may follow, once for a line.
func (s *shell) ask(args []string) (answer string, ok bool) {
	if s.asked != nil && slices.Equal(s.asked, args) {
		return s.answer, true
	}
	var out bytes.Buffer
	deps := *s.deps
	deps.Out, deps.Err = &out, io.Discard
	var err error
	s.silently(func() { err = commands.Execute(context.Background(), &deps, slices.Clone(args)) })
	if err != nil {
		return "", false
	}
	s.asked, s.answer = args, out.String()
	return s.answer, true
}

// rank puts a command's own flags before those that every command has.
func (s *shell) rank(of prompt.Suggest) int {
	if slices.Contains(s.globals, of.Text) {
		return 1
	}
	return 0
}

// enough is how many suggestions anybody pages through.
const enough = 100

// suggestions reads the tree's answer: a candidate and its description a line,
// the last line a directive. The tree may list more than goes on from want,
// which is the typed word without its quotes; a candidate that does not would
// replace what was typed by something else.
func suggestions(answer, typed, want string) []prompt.Suggest {
	var found []prompt.Suggest
	flag := ""
	if name, value, ok := strings.Cut(want, "="); ok && strings.HasPrefix(name, "-") {
		flag, want = name+"=", value
	}
	for line := range strings.SplitSeq(answer, "\n") {
		if line == "" || strings.HasPrefix(line, ":") || strings.HasPrefix(line, cobra.ShellCompNoDescRequestCmd) {
			continue
		}
		text, description, _ := strings.Cut(line, "\t")
		if !goesOn(text, want) {
			continue
		}
		if len(found) == enough {
			break
		}
		if text, ok := insertion(commands.Quote(strings.Map(printable, flag+text)), typed); ok {
			found = append(found, prompt.Suggest{Text: text, Description: strings.Map(printable, description)})
		}
	}
	return found
}

// goesOn reports whether text begins with what was typed, whatever its case.
func goesOn(text, typed string) bool {
	return len(text) >= len(typed) && strings.EqualFold(text[:len(typed)], typed)
}

// insertion is what replaces the typed text after its last space: the prompt
// takes that much away, and no more.
func insertion(word, typed string) (string, bool) {
	space := strings.LastIndexByte(typed, ' ')
	if space < 0 {
		return word, true
	}
	if len(word) <= space || !strings.EqualFold(word[:space+1], typed[:space+1]) {
		return "", false
	}
	return word[space+1:], true
}
