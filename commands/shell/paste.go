package shell

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"keyturn/commands"
)

const (
	pasteOn  = "\x1b[?2004h"
	pasteOff = "\x1b[?2004l"
)

var pasteBegin, pasteEnd = []byte("\x1b[200~"), []byte("\x1b[201~")

// paste is the first line of a pasted text, which is typed where the cursor is; the
// others wait. Nothing that was pasted runs by itself, and nothing is glued to it.
func (c *console) paste() []byte {
	end := bytes.Index(c.pending, pasteEnd)
	if end < 0 {
		return nil
	}
	lines := pastedLines(string(c.take(end + len(pasteEnd))[len(pasteBegin):end]))
	if len(lines) == 0 {
		return nil
	}
	c.pasted = append(lines[1:], c.pasted...)
	if len(lines) > 1 && c.say != nil {
		c.say(fmt.Sprintf("%d lines were pasted: Enter runs them one by one, Ctrl-C drops them.", len(lines)))
	}
	return []byte(lines[0])
}

// offer types the next line that was pasted into the prompt that comes, where it
// waits for Enter as the first one did.
func (c *console) offer() {
	if len(c.pasted) == 0 {
		return
	}
	c.pending = append([]byte(c.pasted[0]), c.pending...)
	c.pasted = c.pasted[1:]
}

// drop forgets the pasted lines that nobody ran.
func (c *console) drop() {
	n := len(c.pasted)
	c.pasted = nil
	if n > 0 && c.say != nil {
		c.say(fmt.Sprintf("Pasted lines that did not run, dropped behind this one: %d.", n))
	}
}

// pastedLines are the lines of a pasted text that are commands, each with those that
// it goes on in, as in a batch. One line alone is taken as it is: it may be part of
// what is typed.
func pastedLines(text string) []string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	var lines []string
	raw := strings.Split(strings.TrimRight(text, "\n"), "\n")
	goingOn := false
	for _, line := range raw {
		line = strings.Map(typable, line)
		if trimmed := strings.TrimSpace(line); len(raw) > 1 && !goingOn && (trimmed == "" || trimmed[0] == '#') {
			continue
		}
		begun := goingOn
		if len(raw) > 1 {
			line, goingOn = commands.Continued(line)
		}
		if begun {
			lines[len(lines)-1] += line
		} else {
			lines = append(lines, line)
		}
	}
	if goingOn { // the rest of it is typed, or comes with the next paste
		lines[len(lines)-1] += `\`
	}
	return lines
}

// typable is a pasted character as it could have been typed, or nothing.
func typable(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError:
		return -1
	}
	return r
}
