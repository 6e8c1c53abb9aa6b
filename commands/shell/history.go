package shell

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	prompt "github.com/c-bata/go-prompt"

	"keyturn/commands"
)

// flag is a boolean that goroutines share.
type flag = atomic.Bool

const (
	keep    = 1000    // lines of the history that are offered again
	longest = 8 << 10 // bytes of a line that is kept: who reads the file bounds them
)

// A history is the lines typed before, without those that carry a secret, and the
// file that keeps them; name is "" where there is none. A file that cannot be read
// or written is a history of this shell alone, never an error.
type history struct {
	name string
	last []string
}

// secretName finds the name of a field, or flag, whose value is a secret.
var secretName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(password|secret|oneTimeCode|pinCode|privateKey|passphrase)`)
})

// asks reports whether a command asks for secrets, and takes none as a word.
func asks(command string) bool {
	return slices.Contains([]string{"passwd", "login", "unlock", "rekey", "key"}, strings.ToLower(command))
}

// carriesSecret reports whether a line may hold a secret, also one that was typed
// where it does not belong: no command would take it, but the file would keep it.
// A file name and a question are no secrets, but a line is cheap to type again.
func carriesSecret(line string) bool {
	var words []string
	for _, w := range commands.Words(strings.TrimLeft(line, "@# \t")) {
		words = append(words, w.Text)
	}
	if len(words) > 1 && words[0] == commands.Program {
		words = words[1:]
	}
	if len(words) == 0 {
		return false
	}
	if strings.EqualFold(words[0], "set") || !commands.Known(words[0]) {
		return true // a variable may be given one; and who mistakes the prompt types a password
	}
	for i, w := range words {
		if givesSecret(w, words[i+1:]) {
			return true
		}
	}
	return asks(words[0]) && beside(words[1:]) > allowed(words[0])
}

// givesSecret reports whether a word, with those after it, may give a secret to a
// field or a flag.
func givesSecret(word string, after []string) bool {
	name, value, assigned := strings.Cut(word, "=")
	switch {
	case !secretName().MatchString(name):
		return false
	case assigned:
		return value != "" || len(after) > 0
	case len(after) == 0:
		return false
	case strings.HasPrefix(word, "-"): // no flag takes a secret, but some the file that holds it
		return !strings.Contains(strings.ToLower(word), "file")
	}
	return strings.HasPrefix(after[0], "=")
}

// beside is the number of words that are no flags.
func beside(words []string) (n int) {
	for _, w := range words {
		if !strings.HasPrefix(w, "-") {
			n++
		}
	}
	return n
}

// allowed is how many of them a command that asks has of its own.
func allowed(command string) int {
	if strings.EqualFold(command, "key") {
		return 1 // list, add or remove
	}
	return 0
}

func openHistory(name string) *history {
	h := &history{name: name}
	if name == "" {
		return h
	}
	f, err := os.Open(name) //nolint:gosec // the caller's own file
	if err != nil {
		return h
	}
	defer func() { _ = f.Close() }()
	for in := bufio.NewScanner(f); in.Scan(); {
		h.last = append(h.last, in.Text())
	}
	if len(h.last) > keep {
		h.last = h.last[len(h.last)-keep:]
	}
	return h
}

func (h *history) lines() []string { return h.last }

// add appends a line, unless it carries a secret, is very long or repeats the one before.
func (h *history) add(line string) {
	if len(line) > longest || carriesSecret(line) || strings.ContainsAny(line, "\r\n") {
		return
	}
	if n := len(h.last); n > 0 && h.last[n-1] == line {
		return
	}
	h.last = append(h.last, line)
	if h.name == "" {
		return
	}
	const private, privateDir = 0o600, 0o700
	if os.MkdirAll(filepath.Dir(h.name), privateDir) != nil {
		return
	}
	f, err := os.OpenFile(h.name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, private)
	if err != nil {
		return
	}
	_, _ = f.WriteString(line + "\n")
	_ = f.Close()
}

// A search goes back through the history: Ctrl-R puts the last line that holds
// what was typed in its place, each further Ctrl-R the one before.
type search struct {
	history *history
	typed   string // what is looked for
	found   string // what stands in its place
	at      int    // where it was found
}

// back is what Ctrl-R does.
func (s *search) back(b *prompt.Buffer) {
	text := b.Text()
	if s.found == "" || text != s.found {
		s.typed, s.found, s.at = text, "", len(s.history.last)
	}
	for s.at--; s.at >= 0; s.at-- {
		line := s.history.last[s.at]
		if line == text || !strings.Contains(strings.ToLower(line), strings.ToLower(s.typed)) {
			continue
		}
		b.CursorRight(len([]rune(b.Document().TextAfterCursor())))
		b.DeleteBeforeCursor(len([]rune(text)))
		b.InsertText(line, false, true)
		s.found = line
		return
	}
	s.at = 0 // nothing older: the line stays
}
