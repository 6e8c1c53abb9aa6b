package commands

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const (
	mostSuggestions = 3 // more of them are no help
	shortestPrefix  = 3 // of a word that was not finished
	longestWord     = 64
)

// meant are the paths of the commands that somebody may have meant who typed
// words[0] below cmd, without the program's name: what is called so further down,
// else what is nearly called so. The words behind it are followed as far as they
// are commands too.
func meant(cmd *cobra.Command, words []string) []string {
	found := called(cmd, words[0])
	if len(found) == 0 {
		found = nearlyCalled(cmd, words[0])
	}
	if len(found) == 0 && cmd.HasParent() { // it may be in another group
		found = called(cmd.Root(), words[0])
	}
	if len(found) > mostSuggestions {
		return nil
	}
	var paths []string
	for _, c := range found {
		c = follow(c, words[1:])
		paths = append(paths, strings.TrimPrefix(c.CommandPath(), cmd.Root().Name()+" "))
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// called are the commands below cmd with that name or alias: people type "rotate"
// for "pam action rotate".
func called(cmd *cobra.Command, word string) []*cobra.Command {
	var named, aliased []*cobra.Command
	below(cmd, func(c *cobra.Command) {
		switch {
		case strings.EqualFold(c.Name(), word):
			named = append(named, c)
		case child(c.Parent(), word) == c:
			aliased = append(aliased, c)
		}
	})
	if len(named) > 0 {
		return named
	}
	if len(aliased) > 1 {
		return nil // one letter stands for something everywhere
	}
	return aliased
}

// nearlyCalled are the commands below cmd whose names are nearest to word, and of
// those the ones that lie nearest.
func nearlyCalled(cmd *cobra.Command, word string) []*cobra.Command {
	var names []string
	below(cmd, func(c *cobra.Command) { names = append(names, c.Name()) })
	near := nearest(word, names)
	var found []*cobra.Command
	depth := 0
	below(cmd, func(c *cobra.Command) {
		if !slices.Contains(near, c.Name()) {
			return
		}
		at := strings.Count(c.CommandPath(), " ")
		if len(found) == 0 || at < depth {
			found, depth = nil, at
		}
		if at == depth {
			found = append(found, c)
		}
	})
	return found
}

// follow goes down from c by the words that name commands, or nearly do.
func follow(c *cobra.Command, words []string) *cobra.Command {
	for _, w := range words {
		next := child(c, w)
		if next == nil && !strings.HasPrefix(w, "-") {
			if near := nearlyCalled(c, w); len(near) == 1 && near[0].Parent() == c {
				next = near[0]
			}
		}
		if next == nil {
			break
		}
		c = next
	}
	return c
}

// below visits what people can run below cmd.
func below(cmd *cobra.Command, visit func(*cobra.Command)) {
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			visit(c)
			below(c, visit)
		}
	}
}

// nearest are the names that word was probably meant to be: those with the fewest
// slips between them, as many as a word of its length may have, or those that it
// begins.
func nearest(word string, names []string) []string {
	if len(word) > longestWord {
		return nil
	}
	word = strings.ToLower(word)
	least := min(len(word)/3, 2)
	var near, begun []string
	for _, name := range names {
		lower := strings.ToLower(name)
		if len(word) >= shortestPrefix && strings.HasPrefix(lower, word) {
			begun = append(begun, name)
		}
		n := slips(word, lower)
		if n > least {
			continue
		}
		if n < least {
			near, least = nil, n
		}
		near = append(near, name)
	}
	if len(near) == 0 {
		near = begun
	}
	slices.Sort(near)
	return slices.Compact(near)
}

// slips counts the letters that are missing, too many, wrong or swapped with the
// next one between two words.
func slips(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			wrong := 1
			if a[i-1] == b[j-1] {
				wrong = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+wrong)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// alternatives writes a choice: "a", "a" or "b".
func alternatives(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	last := len(quoted) - 1
	if last < 1 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}
