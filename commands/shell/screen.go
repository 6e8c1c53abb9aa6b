package shell

import (
	"fmt"
	"strings"

	prompt "github.com/c-bata/go-prompt"
)

// most is how many suggestions are shown at once, where there is room for them.
const most = 8

// width is how many columns of a terminal a text takes.
func width(text string) int {
	b := prompt.NewBuffer()
	b.InsertText(text, false, true)
	return b.DisplayCursorPosition()
}

// rowsOf is how many rows of a terminal a text takes; a wide letter is not cut in two.
func rowsOf(text string, columns int) int {
	rows, at := 1, 0
	for _, r := range text {
		w := width(string(r))
		if at+w > columns {
			rows, at = rows+1, 0
		}
		at += w
	}
	return rows
}

// eraseLine removes the prompt that was given up, so that news stand above the
// next one, which shows again what was typed.
func (s *shell) eraseLine() {
	columns := int(s.console.GetWinSize().Col)
	s.console.tty.write(fmt.Sprintf("\x1b[%dA\r\x1b[J", rowsOf(s.prefixed+s.standing, columns)))
}

// drawn notes what will stand in the line, and where the cursor. It leaves the
// suggestions the room that is left below: of a window that is too small for them the
// library says so instead of showing what is typed.
func (s *shell) drawn(d prompt.Document) {
	s.standing = d.Text
	at := width(s.prefixed + d.TextBeforeCursor())
	s.console.cursor.Store(int64(at))
	size := s.console.GetWinSize()
	room := int(size.Row) - 1 - at/int(size.Col)
	_ = prompt.OptionMaxSuggestion(uint16(max(1, min(most, room))))(s.prompt)
}

// resized reports whether the window has another width than what was drawn. The
// terminal has wrapped that anew, and the library goes up by the rows that it knows
// of: the cursor is put where that leads to the beginning of the line.
func (c *console) resized() bool {
	old, now := c.columns, int(c.GetWinSize().Col)
	if old == 0 || old == now {
		return false
	}
	c.columns = now
	at := int(c.cursor.Load())
	switch up := at/now - at/old; {
	case up > 0:
		c.tty.write(fmt.Sprintf("\x1b[%dA", up))
	case up < 0:
		c.tty.write(strings.Repeat("\n", -up))
	}
	return true
}
