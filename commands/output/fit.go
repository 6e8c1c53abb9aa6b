package output

import (
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// headerRoom is how much wider than its header a column is where there is room:
// the look of Commander's tables. Text is made no narrower than leastProse, and that of
// the last column, where a table tells most, no narrower than leastLast.
const (
	headerRoom = 2
	leastProse = 12
	leastLast  = 24
	indent     = "    "
)

// A column is what is known of one before it is drawn.
type column struct {
	width   int
	header  int  // the width of its header
	longest int  // the width of its longest cell
	least   int  // what it can be cut to
	prose   bool // its cells may go on in the next line
	right   bool // holds numbers only
}

// lay decides how a table is drawn on a screen of so many columns; zero is
// whatever it takes, as for a file. A terminal would break what is too wide in the
// middle of words. So it loses first the room beside its headers, then its widest
// prose goes on in the next line, between words; next the prose of the last column goes
// below its row. What is still too wide is drawn as one block of lines a row.
func lay(t Table, screen int) drawer {
	columns, rows := measure(t, screen > 0 && !t.Fixed)
	if screen <= 0 || t.Fixed || total(columns) <= screen || rows == 0 || squeeze(columns, screen) {
		return &simple{columns: columns}
	}
	last := len(columns) - 1
	if last > 0 && columns[last].prose && squeeze(columns[:last], screen) {
		return &simple{columns: columns[:last], below: max(leastLast, screen-len(indent))}
	}
	return &blocks{columns: columns, screen: screen}
}

// total is the width of a line.
func total(columns []column) int {
	sum := len(gap) * (len(columns) - 1)
	for _, c := range columns {
		sum += c.width
	}
	return sum
}

// squeeze makes columns narrower, the widest prose first, and reports whether they
// fit then.
func squeeze(columns []column, screen int) bool {
	for i, c := range columns {
		columns[i].width = max(c.header, c.longest)
	}
	for total(columns) > screen {
		widest := -1
		for i, c := range columns {
			if c.prose && c.width > c.least && (widest < 0 || c.width > columns[widest].width) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		// As wide as the screen is too wide already: so many steps at most.
		columns[widest].width = max(columns[widest].least, min(columns[widest].width-1, screen))
	}
	return true
}

// measure sizes the columns for all that is in them, and counts the rows. Words are
// measured only where prose may be cut: there may be very many.
func measure(t Table, cut bool) (columns []column, rows int) {
	columns = make([]column, len(t.Header))
	text := make([]bool, len(t.Header)) // holds something else than a number
	for i, h := range t.Header {
		columns[i] = column{header: width(Clean(h)), prose: cut && slices.Contains(t.Prose, h)}
	}
	for row := range t.all() {
		rows++
		for i, cell := range row {
			cell = Clean(cell)
			c := &columns[i]
			c.longest = max(c.longest, width(cell))
			if c.prose {
				c.least = max(c.least, longestWord(cell))
			}
			text[i] = text[i] || cell != "" && !numeric(cell)
			c.right = !text[i] && (c.right || cell != "")
		}
	}
	for i := range columns {
		c, least := &columns[i], leastProse
		if i == len(columns)-1 {
			least = leastLast
		}
		c.width = max(c.header+headerRoom, c.longest)
		c.least = max(c.header, c.least, min(least, c.longest))
	}
	return columns, rows
}

func longestWord(s string) int {
	most := 0
	for word := range strings.SplitSeq(s, " ") {
		most = max(most, width(word))
	}
	return most
}

// wrap is s in lines of at most so many columns, where no word is longer. It is cut at
// spaces only; those at a cut are gone.
func wrap(s string, most int) []string {
	if width(s) <= most {
		return []string{s}
	}
	var lines []string
	line := ""
	for word := range strings.SplitSeq(s, " ") {
		switch longer := line + " " + word; {
		case line == "":
			line = word
		case width(longer) <= most:
			line = longer
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// width is the number of columns s takes on a terminal. Ambiguous characters
// are narrow whatever the locale, so that the same view is the same text.
func width(s string) int { return narrow.StringWidth(s) }

var narrow = &runewidth.Condition{}
