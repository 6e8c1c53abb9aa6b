package commands

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// examples are the command lines of a command's examples, without the program's name
// and what their shell would take for itself.
func examples(text string) []string {
	var all []string
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", ""), "\n") {
		line = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "source <("), ")")
		for one := range strings.SplitSeq(line, " && ") {
			for _, sign := range []string{" > ", " < ", " | "} {
				one, _, _ = strings.Cut(one, sign)
			}
			all = append(all, strings.TrimPrefix(one, "keyturn "))
		}
	}
	return all
}

// Every example of the help is a line that is understood: its words, flags and the
// number of its arguments.
func TestExamplesAreUnderstood(t *testing.T) {
	t.Parallel()
	d := &Deps{Session: &Session{}}
	tried := 0
	walkLeaves(NewRoot(d), func(cmd *cobra.Command) {
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		shown := false // one is of the command itself
		for _, line := range examples(cmd.Example) {
			words, _, err := SplitLine(line)
			if err != nil || len(words) == 0 {
				t.Errorf("%s: %q: %v, %v", cmd.CommandPath(), line, words, err)
				continue
			}
			b := &batch{Deps: d}
			if err := b.try(t.Context(), words); err != nil {
				t.Errorf("%s: %q: %v", cmd.CommandPath(), line, err)
			}
			tried++
			args, err := prepare(NewRoot(d), words)
			if err != nil {
				t.Errorf("%s: %q: %v", cmd.CommandPath(), line, err)
			}
			found, _ := descend(NewRoot(d), args)
			shown = shown || found.CommandPath() == cmd.CommandPath()
		}
		if !shown {
			t.Errorf("%s: no example is of it", cmd.CommandPath())
		}
	})
	if tried < 150 {
		t.Errorf("only %d examples were found", tried)
	}
}

// Who is sent somewhere finds it, and is not sent back to where he is.
func TestSeeAlsoNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	leaves := []string{""}
	walkLeaves(NewRoot(&Deps{Session: &Session{}}), func(cmd *cobra.Command) {
		leaves = append(leaves, strings.TrimPrefix(cmd.CommandPath(), "keyturn "))
	})
	for path, others := range related {
		if !slices.Contains(leaves, path) {
			t.Errorf("there is no command %q", path)
		}
		for _, other := range others {
			if _, topic := helpTopics()[other]; !topic && !slices.Contains(leaves, other) || other == path {
				t.Errorf("%q sends to %q", path, other)
			}
		}
	}
	for topic := range helpTopics() {
		if !slices.Contains(related[""], topic) {
			t.Errorf("the first help does not name the topic %s", topic)
		}
	}
}

// Text that is written by hand fits into 80 columns, and help into its page where nobody
// knows how wide that is. A command to be copied is in one line.
func TestHelpIsNoWiderThanItsPage(t *testing.T) {
	t.Parallel()
	d := &Deps{Session: &Session{}}
	walkLeaves(NewRoot(d), func(cmd *cobra.Command) {
		v, err := helpView(cmd)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(cmd.Long+"\n"+cmd.Example, "\n") {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s: %d characters: %s", cmd.CommandPath(), utf8.RuneCountInString(line), line)
			}
		}
		for _, line := range v.Before {
			if utf8.RuneCountInString(line) > helpWidth {
				t.Errorf("%s: %d characters: %s", cmd.CommandPath(), utf8.RuneCountInString(line), line)
			}
		}
	})
	for name, topic := range helpTopics() {
		for _, line := range topic().Before {
			if utf8.RuneCountInString(line) > 80 && !strings.HasPrefix(line, "  powershell.exe ") {
				t.Errorf("%s: %d characters: %s", name, utf8.RuneCountInString(line), line)
			}
		}
	}
}
