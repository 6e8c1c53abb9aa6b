package commands

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completing reports whether args ask the tree for completion.
func completing(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// prepare rewrites a command line into what the tree's parser reads: the words
// of the command in their canonical form, and its two-letter short flags, which
// the parser does not have, as long ones. A word that a group does not know is
// a usage error.
func prepare(root *cobra.Command, args []string) ([]string, error) {
	if completing(args) {
		return prepareCompletion(root, args), nil
	}
	args = slices.Clone(args)
	if at := afterGlobals(root, args); at < len(args) && args[at] == fromStdin {
		args = slices.Insert(args, at, "run-batch")
	}
	cmd, rest := descend(root, args)
	if cmd.HasSubCommands() {
		return prepareGroup(cmd, args, rest)
	}
	expand(cmd, args[rest:])
	return args, nil
}

// afterGlobals is where the first word stands that is no global flag and no value
// of one.
func afterGlobals(root *cobra.Command, args []string) int {
	at := 0
	for at < len(args) && strings.HasPrefix(args[at], "--") {
		n := globalFlag(root, args[at])
		if n == 0 {
			break
		}
		at += n
	}
	return min(at, len(args))
}

// prepareCompletion does what can be done for a line that is not finished: its
// last word is left alone, and no word is an error.
func prepareCompletion(root *cobra.Command, args []string) []string {
	args = slices.Clone(args)
	if len(args) < 2 {
		return args
	}
	words := args[1 : len(args)-1]
	cmd, rest := descend(root, words)
	expand(cmd, words[rest:])
	return args
}

// prepareGroup handles a line that names a group and no leaf below it.
func prepareGroup(cmd *cobra.Command, args []string, rest int) ([]string, error) {
	tail := args[rest:]
	if len(tail) > 0 && tail[0] == "--" { // Commander strips it
		tail = tail[1:]
		if len(tail) > 0 {
			return prepare(cmd.Root(), append(slices.Clone(args[:rest]), tail...))
		}
	}
	for i, a := range tail {
		switch {
		case a == "help" && cmd.HasParent():
			return append(slices.Clone(args[:rest]), "--help"), nil
		case !strings.HasPrefix(a, "-"):
			return nil, unknownIn(cmd, tail, i)
		case a == "-h" || a == "--help" || a == "--version":
			return args, nil
		}
	}
	return args, nil
}

// unknownIn is the error for the words behind a group, of which the one at is the
// first that is no flag: it may be the value of an unknown flag, or the command
// behind one.
func unknownIn(cmd *cobra.Command, words []string, at int) error {
	if at > 0 && globalFlag(cmd.Root(), words[0]) == 0 {
		name, _, _ := strings.Cut(words[0], "=") // its value may be a secret
		hint := cmp.Or(elsewhere(pathOf(cmd), name), helpFor(cmd))
		return usagef("unknown flag: %s", name).WithHint("%s", hint)
	}
	return unknownWord(cmd, words[at:])
}

// pathOf is a command's words without the program's name.
func pathOf(cmd *cobra.Command) string {
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	return path
}

// unknownWord is the error for words[0], which is no command of cmd.
func unknownWord(cmd *cobra.Command, words []string) error {
	err := usagef("Invalid command: %s", words[0])
	hint := helpFor(cmd)
	if text := elsewhere(pathOf(cmd), strings.ToLower(words[0])); text != "" {
		hint = text
	} else if near := meant(cmd, words); len(near) > 0 {
		hint = "did you mean " + alternatives(near) + "?"
	}
	g := &groupError{err: err.WithHint("%s", hint)}
	if cmd.HasParent() {
		g.help = groupHelp(cmd)
	}
	return g
}

// descend follows the words of args down the tree, past global flags, writes
// them in canonical form, and returns the command and the index of the first
// word that is not part of its name.
func descend(root *cobra.Command, args []string) (*cobra.Command, int) {
	cmd, i := root, 0
	for i < len(args) {
		if cmd == root && strings.HasPrefix(args[i], "--") {
			n := globalFlag(root, args[i])
			if n == 0 {
				break
			}
			i += n
			continue
		}
		next := child(cmd, args[i])
		if next == nil {
			break
		}
		args[i] = next.Name()
		cmd = next
		i++
	}
	return cmd, min(i, len(args))
}

// globalFlag returns how many words the persistent flag at word takes, 0 when
// it is none.
func globalFlag(root *cobra.Command, word string) int {
	name, _, joined := strings.Cut(strings.TrimPrefix(word, "--"), "=")
	f := root.PersistentFlags().Lookup(name)
	switch {
	case f == nil:
		return 0
	case joined || f.NoOptDefVal != "":
		return 1
	default:
		return 2
	}
}

func child(cmd *cobra.Command, word string) *cobra.Command {
	for _, c := range cmd.Commands() {
		if strings.EqualFold(c.Name(), word) || slices.ContainsFunc(c.Aliases, func(a string) bool {
			return strings.EqualFold(a, word)
		}) {
			return c
		}
	}
	return nil
}

// expand replaces, in place, the two-letter short flags of cmd's own table by
// long ones. Only whole words count, with or without "=VALUE"; the value of
// another flag and everything after "--" is left alone.
func expand(cmd *cobra.Command, args []string) {
	table := shortFlags(cmd)
	value := false
	for i, a := range args {
		switch {
		case a == "--":
			return
		case value:
			value = false
			continue
		}
		short, rest, joined := strings.Cut(a, "=")
		if long, ok := table[short]; ok {
			args[i] = "--" + long
			if joined {
				args[i] += "=" + rest
			}
		}
		value = takesValue(cmd, args[i])
	}
}

func shortFlags(cmd *cobra.Command) map[string]string {
	table := map[string]string{}
	for pair := range strings.FieldsSeq(cmd.Annotations[annotShort]) {
		short, long, _ := strings.Cut(pair, "=")
		table["-"+short] = long
	}
	return table
}

// takesValue reports whether the word is a flag whose value is the next word.
func takesValue(cmd *cobra.Command, word string) bool {
	if strings.Contains(word, "=") {
		return false
	}
	var f *pflag.Flag
	switch {
	case strings.HasPrefix(word, "--"):
		f = cmd.Flag(word[2:])
	case len(word) == 2 && word[0] == '-':
		f = cmd.Flags().ShorthandLookup(word[1:])
	}
	return f != nil && f.NoOptDefVal == ""
}
