package output

import (
	"io"
	"strings"

	"github.com/olekukonko/ll"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"
)

// gap is what stands between two columns.
const gap = "  "

// A drawer draws the rows of one table.
type drawer interface {
	tw.Renderer
	failed() bool // nobody reads on
}

// renderTable looks at all rows twice, to size the columns and to draw them, and
// holds one.
func renderTable(w io.Writer, t Table, screen int) error {
	r := lay(t, screen)
	// Every knob that would change a cell is off: what becomes of it is decided in lay.
	off := tw.CellConfig{Formatting: tw.CellFormatting{AutoWrap: tw.WrapNone, AutoFormat: tw.Off}}
	table := tablewriter.NewTable(w,
		tablewriter.WithRenderer(r), tablewriter.WithStreaming(tw.StreamConfig{Enable: true}),
		tablewriter.WithHeaderConfig(off), tablewriter.WithRowConfig(off),
		tablewriter.WithHeaderAutoFormat(tw.Off), tablewriter.WithRowAutoFormat(tw.Off),
		tablewriter.WithTrimSpace(tw.Off),
	)
	if err := table.Start(); err != nil {
		return err
	}
	table.Header(clean(t.Header))
	for _, row := range t.Rows {
		if err := table.Append(clean(row)); err != nil {
			return err
		}
	}
	if t.More != nil {
		// The library would hand over each of them unchanged, as it does above, after
		// laying out ten times as much memory: here there may be very many.
		for row := range t.More {
			if r.Row(clean(row), tw.Formatting{}); r.failed() {
				break
			}
		}
	}
	return table.Close()
}

func clean(cells []string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = Clean(c)
	}
	return out
}

// A pen writes lines up to the first that cannot be written, and has of a
// [tw.Renderer] what no table of ours needs.
type pen struct {
	w   io.Writer
	err error
}

func (p *pen) write(line string) {
	_, err := io.WriteString(p.w, strings.TrimRight(line, " ")+"\n")
	if p.err == nil {
		p.err = err
	}
}

func (p *pen) failed() bool { return p.err != nil }

// Start implements [tw.Renderer].
func (p *pen) Start(w io.Writer) error {
	p.w = w
	return nil
}

// Footer implements [tw.Renderer]; no table of ours has one.
func (p *pen) Footer([][]string, tw.Formatting) {}

// Line implements [tw.Renderer]; the rule belongs to the header.
func (p *pen) Line(tw.Formatting) {}

// Config implements [tw.Renderer].
func (p *pen) Config() tw.Rendition { return tw.Rendition{Borders: tw.BorderNone, Streaming: true} }

// Close implements [tw.Renderer] and reports the first failed write.
func (p *pen) Close() error { return p.err }

// Logger implements [tw.Renderer].
func (p *pen) Logger(*ll.Logger) {}

// simple draws a header, a rule of dashes, and rows cut at the right: no
// borders. Its columns are sized before the table is rendered, because their
// width follows the header in a way the library has no word for.
type simple struct {
	pen
	columns []column
	below   int // the room for the last cell below its row; zero when it is a column
}

// Header implements [tw.Renderer].
func (s *simple) Header(headers [][]string, _ tw.Formatting) {
	for _, h := range headers {
		s.line(h[:len(s.columns)])
		s.under(h)
	}
	rule := make([]string, len(s.columns))
	for i, c := range s.columns {
		rule[i] = strings.Repeat("-", c.width)
	}
	s.line(rule)
}

// Row implements [tw.Renderer]: it draws as many lines as the longest of its cells.
func (s *simple) Row(row []string, _ tw.Formatting) {
	rest := make([][]string, len(s.columns)) // what is left of each cell
	for i, cell := range row[:len(s.columns)] {
		rest[i] = []string{cell}
		if s.columns[i].prose {
			rest[i] = wrap(cell, s.columns[i].width)
		}
	}
	for more := true; more; {
		more = false
		line := make([]string, len(rest))
		for i := range rest {
			if len(rest[i]) > 0 {
				line[i], rest[i] = rest[i][0], rest[i][1:]
			}
			more = more || len(rest[i]) > 0
		}
		s.line(line)
	}
	s.under(row)
}

// under writes a cell that has no column.
func (s *simple) under(row []string) {
	if s.below == 0 || row[len(s.columns)] == "" {
		return
	}
	for _, line := range wrap(row[len(s.columns)], s.below) {
		s.write(indent + line)
	}
}

func (s *simple) line(cells []string) {
	padded := make([]string, len(cells))
	for i, c := range cells {
		room := strings.Repeat(" ", max(0, s.columns[i].width-width(c)))
		padded[i] = c + room
		if s.columns[i].right {
			padded[i] = room + c
		}
	}
	s.write(strings.Join(padded, gap))
}

// blocks draws a row as lines of "Label: value", an empty line between two rows,
// and nothing of cells that are empty.
type blocks struct {
	pen
	columns []column
	header  []string
	label   int // the room of the labels
	screen  int
	begun   bool
}

// Header implements [tw.Renderer].
func (b *blocks) Header(headers [][]string, _ tw.Formatting) {
	for _, h := range headers {
		b.header = h
	}
	for _, h := range b.header {
		b.label = max(b.label, width(h)+len(": "))
	}
}

// Row implements [tw.Renderer].
func (b *blocks) Row(row []string, _ tw.Formatting) {
	if b.begun {
		b.write("")
	}
	b.begun = true
	for i, cell := range row {
		if cell == "" && i > 0 { // the first says that there is a row
			continue
		}
		lines := []string{cell}
		if b.columns[i].prose {
			lines = wrap(cell, max(leastProse, b.screen-b.label))
		}
		head := b.header[i] + ":"
		for _, line := range lines {
			b.write(head + strings.Repeat(" ", b.label-width(head)) + line)
			head = ""
		}
	}
}
