// Package output turns what a command found into a table, JSON or CSV. It is
// the one place where bytes that somebody else chose become bytes on a
// terminal, so it escapes every control, escape and bidi character.
//
// It knows no record, no vault and no command.
package output

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
)

// A Format is a form of output.
type Format string

// The formats.
const (
	FormatTable Format = "table"
	FormatJSON  Format = "json"
	FormatCSV   Format = "csv"
)

// Formats are the words of --format, in the order they are shown.
func Formats() []string {
	return []string{string(FormatTable), string(FormatJSON), string(FormatCSV)}
}

// ParseFormat reads the value of --format.
func ParseFormat(s string) (Format, error) {
	for _, f := range Formats() {
		if strings.EqualFold(s, f) {
			return Format(f), nil
		}
	}
	return "", fmt.Errorf("unknown format %q: it is %s", s, strings.Join(Formats(), ", "))
}

// A View is the result of a command in all its forms. The zero View prints
// nothing.
type View struct {
	// Before and After are the lines around the table; each is escaped.
	Before, After []string
	// Warnings are the lines after all else, and in the JSON form in the document. CSV
	// has no place for them: there the caller tells of them.
	Warnings []string
	// Value is a line that somebody copies or a program reads, shown in the place of
	// all else: the spaces at its end are part of it.
	Value string
	// Tables are shown one after another, and are the CSV unless CSV is set.
	Tables []Table
	// CSV is the CSV form of a view whose text is no table.
	CSV *Table
	// Document is the JSON form; a [List] is written item by item.
	Document any
}

// A List is a JSON array whose items are made one by one, while they are written.
type List = iter.Seq[any]

// A Table has a header and rows of as many cells. Cells are shown as they are:
// "1.10" and "007" stay.
type Table struct {
	Title  string // a line above; may be empty
	Header []string
	// Prose are the headers of columns that people read and nobody copies: on a
	// terminal that is too narrow their cells go on in the next line. Fixed keeps a
	// table as it is, however narrow the terminal.
	Prose []string
	Fixed bool
	Rows  [][]string
	// More yields the rows behind Rows, as often as it is asked, the same each time:
	// those of a long table are made one by one, while they are written. May be nil.
	More iter.Seq[[]string]
}

// all yields all rows.
func (t Table) all() iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for _, row := range t.Rows {
			if !yield(row) {
				return
			}
		}
		if t.More != nil {
			t.More(yield)
		}
	}
}

// Render writes v to w in format f. Tables are made to fit into a screen of so many
// columns; zero leaves them as wide as they are, and so do the other formats.
func Render(w io.Writer, f Format, v View, screen int) error {
	switch f {
	case FormatJSON:
		return renderJSON(w, v)
	case FormatCSV:
		return renderCSV(w, v)
	default:
		return renderText(w, v, screen)
	}
}

func renderText(w io.Writer, v View, screen int) error {
	b := bufio.NewWriter(w)
	if v.Value != "" {
		_, _ = b.WriteString(Clean(v.Value) + "\n")
		return b.Flush()
	}
	lines(b, v.Before)
	for i, t := range v.Tables {
		if i > 0 {
			_ = b.WriteByte('\n')
		}
		if t.Title != "" {
			lines(b, []string{t.Title, ""})
		}
		if err := renderTable(b, t, screen); err != nil {
			return fmt.Errorf("render a table: %w", err)
		}
	}
	lines(b, v.After)
	for _, w := range v.Warnings {
		if w = Clean(w); screen > 0 {
			lines(b, wrap(w, screen))
			continue
		}
		lines(b, []string{w})
	}
	return b.Flush() // it says what went wrong before, too
}

func lines(b *bufio.Writer, lines []string) {
	for _, l := range lines {
		_, _ = b.WriteString(strings.TrimRight(Clean(l), " "))
		_ = b.WriteByte('\n')
	}
}

func renderJSON(w io.Writer, v View) error {
	if v.Document == nil {
		return nil
	}
	if list, ok := v.Document.(List); ok {
		return renderList(w, list)
	}
	text, err := Marshal(v.Document)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// renderList writes what Marshal makes of a slice of the items.
func renderList(w io.Writer, list List) error {
	b := bufio.NewWriter(w)
	before := "[\n  "
	for item := range list {
		text, err := marshal(item, "  ")
		if err != nil {
			return err
		}
		_, _ = b.WriteString(before)
		_, _ = b.Write(bytes.TrimSuffix(text, []byte("\n")))
		before = ",\n  "
	}
	if before[0] == '[' {
		_, _ = b.WriteString("[]\n")
	} else {
		_, _ = b.WriteString("\n]\n")
	}
	return b.Flush()
}

// Marshal returns doc as indented JSON with a final newline. HTML is left
// alone; what a terminal could take for a command is written as \u escapes.
func Marshal(doc any) ([]byte, error) { return marshal(doc, "") }

// marshal is Marshal with something before each line but the first.
func marshal(doc any, prefix string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return escapeJSON(b.Bytes()), nil
}

func renderCSV(w io.Writer, v View) error {
	tables := v.Tables
	if v.CSV != nil {
		tables = []Table{*v.CSV}
	}
	if len(tables) == 0 {
		return nil
	}
	out := csv.NewWriter(w)
	if err := out.Write(plain(tables[0].Header)); err != nil {
		return err
	}
	for _, t := range tables {
		for row := range t.all() {
			if err := out.Write(plain(row)); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// plain makes the cells of a row harmless in a spreadsheet, which runs a cell
// that begins like a formula.
func plain(row []string) []string {
	cells := make([]string, len(row))
	for i, cell := range row {
		cells[i] = Clean(cell)
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) && !numeric(cell) {
			cells[i] = "'" + cells[i]
		}
	}
	return cells
}

// numeric reports whether s looks like a number to a person.
func numeric(s string) bool {
	if strings.Trim(s, "0123456789.-") != "" {
		return false
	}
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}
