package exchange

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"keyturn/pkg/pam"
)

// The columns of Commander's CSV. After them come names and values in turns.
const (
	csvFolder = iota
	csvTitle
	csvLogin
	csvPassword
	csvURL
	csvNotes
	csvShared
	csvCustom

	csvLeast = csvNotes + 1
)

// typeName names the record's type among the custom fields.
const typeName = "$type"

// guardMark is the only cell of the first line of a file in which WriteCSV put an
// apostrophe before a cell: without it nobody can tell a guard from a password
// that begins so. Commander passes over a line of less than six cells.
const guardMark = "Keyturn: an apostrophe before a formula is not part of the text"

// isMark knows the line also when a spreadsheet has filled it up.
func isMark(row []string) bool {
	return row[0] == guardMark && !slices.ContainsFunc(row[1:], func(cell string) bool { return cell != "" })
}

// A spreadsheet runs a cell that begins like a formula. Such a cell gets an
// apostrophe before it, and so does one that has apostrophes before its formula
// already; reading a file with the mark takes one away again.
var (
	formula = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^'*[=+\-@\t\r\n]`) })
	guarded = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^'+[=+\-@\t\r\n]`) })
)

func guard(cell string) string {
	if formula().MatchString(cell) {
		return "'" + cell
	}
	return cell
}

// unguard takes the guards off a row of a marked file. In another it returns how
// many cells look as if they had one.
func unguard(row []string, marked bool) (alike int) {
	for i, cell := range row {
		row[i] = strings.ReplaceAll(cell, "\r", "\n")
		switch {
		case !guarded().MatchString(row[i]):
		case marked:
			row[i] = row[i][1:]
		default:
			alike++
		}
	}
	return alike
}

// ReadCSV reads a CSV file of Commander: folder, title, login, password, URL,
// notes, shared folder, then names and values of further fields in turns. A first
// line that names the columns is passed over. An apostrophe before a formula is
// taken off only where WriteCSV says that it put it there.
func ReadCSV(data []byte) (File, error) {
	var f File
	data, err := checkEncoding(data)
	if err != nil {
		return f, err
	}
	in := csv.NewReader(bytes.NewReader(data))
	in.FieldsPerRecord = -1
	marked, alike := false, 0
	for first := true; ; first = false {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			if alike > 0 {
				f.note("%d cell(s) begin with an apostrophe before =, +, -, @ or a line break; it is kept, as part of the text", alike)
			}
			return f, nil
		}
		if err != nil {
			f.Destroy()
			return File{}, csvError(err)
		}
		if first && isMark(row) {
			marked = true
			continue
		}
		if first && isHeader(row) {
			continue
		}
		alike += unguard(row, marked)
		line, _ := in.FieldPos(0)
		e := Entry{Place: "line " + strconv.Itoa(line)}
		if err := readRow(row, &e); err != nil {
			f.Entries = append(f.Entries, e)
			f.Destroy()
			return File{}, err
		}
		f.Entries = append(f.Entries, e)
	}
}

func csvError(err error) error {
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("line %d: not CSV: %w", parse.Line, parse.Err)
	}
	return err
}

func isHeader(row []string) bool {
	names := []string{"folder", "title", "login", "password"}
	return len(row) >= len(names) && slices.EqualFunc(row[:len(names)], names, strings.EqualFold)
}

func readRow(row []string, e *Entry) error {
	if len(row) > csvTitle {
		e.Record.Title = row[csvTitle]
	}
	if len(row) < csvLeast {
		return fault(*e, "", "has %d columns; folder, title, login, password, URL and notes are needed", len(row))
	}
	e.Record.Type, e.Record.Notes = defaultType, row[csvNotes]
	addPlain(&e.Record, "login", row[csvLogin])
	addPlain(&e.Record, "password", row[csvPassword])
	addPlain(&e.Record, "url", row[csvURL])
	if len(row) > csvShared {
		e.Folder = splitFolder(sharedFolder(row[csvShared]))
	}
	e.Folder = append(e.Folder, splitFolder(row[csvFolder])...)
	if len(row) > csvCustom {
		return readPairs(row[csvCustom:], e)
	}
	return nil
}

// sharedFolder is the name of a shared folder without its rights.
func sharedFolder(name string) string {
	for {
		cut := strings.TrimSuffix(strings.TrimSuffix(name, "#edit"), "#reshare")
		if cut == name {
			return name
		}
		name = cut
	}
}

func readPairs(cells []string, e *Entry) error {
	for i := 0; i < len(cells); i += 2 {
		name := cells[i]
		value := ""
		if i+1 < len(cells) {
			value = cells[i+1]
		}
		switch {
		case name == "" && value == "":
			continue // a spreadsheet fills up rows
		case name == "":
			return fault(*e, "", "a value in column %d has no name before it", csvCustom+i+2)
		case name == typeName && value != "":
			e.Record.Type = pam.RecordType(value)
			continue
		case value == "":
			continue
		}
		if err := readPair(name, value, e); err != nil {
			return fault(*e, name, "%w", err)
		}
	}
	return nil
}

// structured reports whether a field of that type can have parts. In the types
// of plain texts braces are only braces.
func structured(typ string) bool {
	plain := []string{"text", "multiline", "note", "login", "url", "email", "checkbox", "directoryType"}
	return !isSecret(typ) && !slices.ContainsFunc(plain, func(t string) bool { return strings.EqualFold(t, typ) })
}

// readPair adds a field by its name.
func readPair(name, value string, e *Entry) error {
	f := namedField(name)
	if f.Type == "" {
		return errors.New("has no type")
	}
	return addText(f, value, e)
}

// maxFields bounds the fields of a record whose values are put together: each is
// compared with all before it.
const maxFields = 10_000

// addText adds a field; a further value of a plain field joins it.
func addText(f pam.Field, value string, e *Entry) error {
	if len(e.Record.Fields) >= maxFields {
		return fmt.Errorf("is more than %d fields of one record", maxFields)
	}
	if structured(f.Type) && json.Valid([]byte(value)) && (strings.HasPrefix(value, "{") || deep([]byte(value))) {
		fields, err := customField(pair{fieldName(f), json.RawMessage(value)})
		e.Record.Fields = append(e.Record.Fields, fields...)
		return err
	}
	if !isSecret(f.Type) {
		for i := range e.Record.Fields {
			old := &e.Record.Fields[i]
			if old.Type == f.Type && old.Label == f.Label && len(old.Values) > 0 {
				old.Values = append(old.Values, value)
				return nil
			}
		}
	}
	setText(&f, value)
	e.Record.Fields = append(e.Record.Fields, f)
	return nil
}

// WriteCSV writes entries as Commander exports them, with a guard before what a
// spreadsheet would run, and a first line that says so if there is one. It is
// plain text. UIDs are not in it.
func WriteCSV(w io.Writer, entries []Entry) error {
	var b bytes.Buffer
	defer func() { clear(b.Bytes()) }()
	out := csv.NewWriter(&b)
	marked := false
	for _, e := range entries {
		row, err := csvRow(e)
		if err != nil {
			return fault(e, "", "%w", err)
		}
		for i := range row {
			cell := guard(row[i])
			marked = marked || cell != row[i]
			row[i] = cell
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return err
	}
	if marked {
		if _, err := io.WriteString(w, guardMark+"\n"); err != nil {
			return err
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func csvRow(e Entry) ([]string, error) {
	path, err := joinFolder(e.Folder)
	if err != nil {
		return nil, err
	}
	if err := textual(e.Record); err != nil {
		return nil, err
	}
	flat := flatten(e.Record)
	row := []string{
		path, e.Record.Title, flat.login, string(flat.password.Reveal()), flat.url, e.Record.Notes, "",
	}
	if e.Record.Type != defaultType {
		row = append(row, typeName, string(e.Record.Type))
	}
	for _, f := range flat.rest {
		name := fieldName(f)
		switch {
		case len(f.Parts) > 0:
			text, err := json.Marshal(partsValue(f))
			if err != nil {
				return nil, err
			}
			row = append(row, name, string(text))
		case !f.Secret.IsZero():
			row = append(row, name, string(f.Secret.Reveal()))
		default:
			for _, v := range f.Values {
				row = append(row, name, v)
			}
		}
	}
	return row, nil
}
