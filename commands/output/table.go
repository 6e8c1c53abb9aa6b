package output

import (
	"io"
	"strings"

	"github.com/olekukonko/ll"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/pkg/twwidth"
	"github.com/olekukonko/tablewriter/tw"
)

// gap is what stands between two columns, and headerRoom how much wider than
// its header a column is at least: the look of Commander's tables.
const (
	gap        = "  "
	headerRoom = 2
)

// renderTable looks at all rows twice, to size the columns and to draw them, and
// holds one.
func renderTable(w io.Writer, t Table) error {
	r := measure(t)
	// Every knob that would change a cell is off: a table shows what is there.
	off := tw.CellConfig{Formatting: tw.CellFormatting{AutoWrap: tw.WrapNone, AutoFormat: tw.Off}}
	table := tablewriter.NewTable(w,
		tablewriter.WithRenderer(r), tablewriter.WithStreaming(tw.StreamConfig{Enable: true}),
		tablewriter.WithHeaderConfig(off), tablewriter.WithRowConfig(off),
		tablewriter.WithHeaderAutoFormat(tw.Off), tablewriter.WithRowAutoFormat(tw.Off),
		tablewriter.WithTrimSpace(tw.Off), tablewriter.WithTrimTab(tw.Off), tablewriter.WithTrimLine(tw.Off),
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
			if r.Row(clean(row), tw.Formatting{}); r.err != nil {
				break // nobody reads on
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

// measure sizes the columns, and finds those that hold numbers only.
func measure(t Table) *simple {
	r := &simple{widths: make([]int, len(t.Header)), right: make([]bool, len(t.Header))}
	text := make([]bool, len(t.Header)) // holds something else than a number
	for i, h := range t.Header {
		r.widths[i] = width(Clean(h)) + headerRoom
	}
	for row := range t.all() {
		for i, cell := range row {
			cell = Clean(cell)
			r.widths[i] = max(r.widths[i], width(cell))
			text[i] = text[i] || cell != "" && !numeric(cell)
			r.right[i] = !text[i] && (r.right[i] || cell != "")
		}
	}
	return r
}

// width is the number of columns s takes on a terminal. Ambiguous characters
// are narrow whatever the locale, so that the same view is the same text.
func width(s string) int { return twwidth.WidthWithOptions(s, twwidth.Options{}) }

// simple draws a header, a rule of dashes, and rows cut at the right: no
// borders. Its columns are sized before the table is rendered, because their
// width follows the header in a way the library has no word for.
type simple struct {
	w      io.Writer
	widths []int
	right  []bool
	err    error
}

// Start implements [tw.Renderer].
func (s *simple) Start(w io.Writer) error {
	s.w = w
	return nil
}

// Header implements [tw.Renderer].
func (s *simple) Header(headers [][]string, _ tw.Formatting) {
	for _, h := range headers {
		s.line(h)
	}
	rule := make([]string, len(s.widths))
	for i, w := range s.widths {
		rule[i] = strings.Repeat("-", w)
	}
	s.line(rule)
}

// Row implements [tw.Renderer].
func (s *simple) Row(row []string, _ tw.Formatting) { s.line(row) }

// Footer implements [tw.Renderer]; no table of ours has one.
func (s *simple) Footer([][]string, tw.Formatting) {}

// Line implements [tw.Renderer]; the rule belongs to the header.
func (s *simple) Line(tw.Formatting) {}

// Config implements [tw.Renderer].
func (s *simple) Config() tw.Rendition { return tw.Rendition{Borders: tw.BorderNone, Streaming: true} }

// Close implements [tw.Renderer] and reports the first failed write.
func (s *simple) Close() error { return s.err }

// Logger implements [tw.Renderer].
func (s *simple) Logger(*ll.Logger) {}

func (s *simple) line(cells []string) {
	padded := make([]string, len(cells))
	for i, c := range cells {
		room := strings.Repeat(" ", max(0, s.widths[i]-width(c)))
		padded[i] = c + room
		if s.right[i] {
			padded[i] = room + c
		}
	}
	_, err := io.WriteString(s.w, strings.TrimRight(strings.Join(padded, gap), " ")+"\n")
	if s.err == nil {
		s.err = err
	}
}
