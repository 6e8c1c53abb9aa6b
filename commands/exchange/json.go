package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"keyturn/pkg/pam"
)

// defaultType is the type of a record that a file gives none.
const defaultType = pam.TypeLogin

var errNotScalar = errors.New("is an object or a list")

// A pair is one member of a JSON object, in the order of the file.
type pair struct {
	name  string
	value json.RawMessage
}

// ReadJSON reads an export of Commander: {"records": [...]} or the list alone.
func ReadJSON(data []byte) (File, error) {
	var f File
	data, err := checkEncoding(data)
	if err != nil {
		return f, err
	}
	records, err := f.records(data)
	if err != nil {
		return f, atLine(data, err)
	}
	for i, raw := range records {
		e := Entry{Place: "record " + strconv.Itoa(i+1)}
		if err := f.readEntry(raw, &e); err != nil {
			f.Entries = append(f.Entries, e) // its secrets, to be destroyed
			f.Destroy()
			return File{}, err
		}
		f.Entries = append(f.Entries, e)
	}
	return f, nil
}

// records finds the list of records, and notes what is beside it.
func (f *File) records(data []byte) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '[' {
		return list, json.Unmarshal(data, &list)
	}
	members, err := object(data)
	if err != nil {
		return nil, err
	}
	found := false
	for _, m := range members {
		if m.name != "records" {
			f.note("%q is not taken over", m.name)
			continue
		}
		found = true
		if err := json.Unmarshal(m.value, &list); err != nil {
			return nil, errors.New(`"records" is not a list`)
		}
	}
	if !found {
		return nil, errors.New(`there is no "records" in it`)
	}
	return list, nil
}

// maxNotes is how much a file is told to lack; what comes after it is told as one.
const maxNotes = 100

// note says something once. Texts among args are shortened.
func (f *File) note(format string, args ...any) {
	for i, a := range args {
		if text, ok := a.(string); ok {
			args[i] = shorten(text)
		}
	}
	n := fmt.Sprintf(format, args...)
	switch {
	case slices.Contains(f.Notes, n):
	case len(f.Notes) < maxNotes:
		f.Notes = append(f.Notes, n)
	case len(f.Notes) == maxNotes:
		f.Notes = append(f.Notes, "there is more that is not taken over")
	}
}

// atLine says in which line a text is no JSON.
func atLine(data []byte, err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		return fmt.Errorf("line %d: not JSON: %w", line, err)
	}
	return err
}

// object reads the members of a JSON object in their order.
func object(raw []byte) ([]pair, error) {
	if err := json.Unmarshal(raw, new(json.RawMessage)); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("is not an object")
	}
	var members []pair
	for dec.More() {
		begin := dec.InputOffset()
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if half(raw[begin:dec.InputOffset()]) {
			return nil, fmt.Errorf("a name in it %w", errHalf)
		}
		m := pair{}
		m.name, _ = name.(string)
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

func (f *File) readEntry(raw json.RawMessage, e *Entry) error {
	members, err := object(raw)
	if err != nil {
		return fault(*e, "", "%w", err)
	}
	if err := readTexts(members, e); err != nil {
		return err
	}
	for _, m := range members {
		var err error
		switch {
		case isText(m.name), m.name == "last_modified":
		case m.name == "custom_fields":
			err = readCustom(m.value, e)
		case m.name == "folders":
			err = f.readFolders(m.value, e)
		case m.name == "attachments":
			f.note("attachments of %s (%q) are not taken over", e.Place, e.Record.Title)
		default:
			f.note("%q of records is not taken over", m.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isText reports whether a member of a record is a text by its name.
func isText(name string) bool {
	return slices.Contains([]string{"title", "uid", typeName, "login", "password", "login_url", "notes"}, name)
}

// readTexts reads what is a text of a record.
func readTexts(members []pair, e *Entry) error {
	for _, m := range members { // errors name the title
		if m.name == "title" {
			e.Record.Title, _ = scalar(m.value) // if it is none, the loop below says so
		}
	}
	texts := map[string]string{typeName: string(defaultType)}
	for _, m := range members {
		if !isText(m.name) {
			continue
		}
		text, err := scalar(m.value)
		if err != nil {
			return fault(*e, m.name, "%w", noText(err))
		}
		if text != "" {
			texts[m.name] = text
		}
	}
	e.Record.Title, e.Record.Notes, e.Record.UID = texts["title"], texts["notes"], pam.UID(texts["uid"])
	e.Record.Type = pam.RecordType(texts[typeName])
	addPlain(&e.Record, "login", texts["login"])
	addPlain(&e.Record, "password", texts["password"])
	addPlain(&e.Record, "url", texts["login_url"])
	return nil
}

// scalar reads a text, number or truth value as text; null is none.
func scalar(raw json.RawMessage) (string, error) {
	if half(raw) {
		return "", errHalf
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", err
	}
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", errNotScalar
}

func readCustom(raw json.RawMessage, e *Entry) error {
	if string(bytes.TrimSpace(raw)) == "null" {
		return nil
	}
	members, err := object(raw)
	if err != nil {
		return fault(*e, "custom_fields", "%w", err)
	}
	for _, m := range members {
		fields, err := customField(m)
		if err != nil {
			return fault(*e, m.name, "%w", err)
		}
		e.Record.Fields = append(e.Record.Fields, fields...)
	}
	return nil
}

// readFolders takes the first place of a record: here it lies in one folder.
func (f *File) readFolders(raw json.RawMessage, e *Entry) error {
	var places []struct {
		Folder string `json:"folder"`
		Shared string `json:"shared_folder"`
	}
	if err := json.Unmarshal(raw, &places); err != nil {
		return fault(*e, "folders", "is no list of folders")
	}
	if half(raw) {
		return fault(*e, "folders", "%w", errHalf)
	}
	if len(places) > 1 {
		f.note("%s (%q) lies in %d folders; the first is taken", e.Place, e.Record.Title, len(places))
	}
	if len(places) > 0 {
		e.Folder = append(splitFolder(places[0].Shared), splitFolder(places[0].Folder)...)
	}
	return nil
}

// WriteJSON writes entries as Commander exports them. It is plain text.
func WriteJSON(w io.Writer, entries []Entry) error {
	var b bytes.Buffer
	defer func() { clear(b.Bytes()) }()
	b.WriteString("{\n  \"records\": [")
	for i, e := range entries {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n    ")
		members, err := entryObject(e)
		if err == nil {
			err = encode(&b, members)
		}
		if err != nil {
			return fault(e, "", "%w", err)
		}
	}
	b.WriteString("\n  ]\n}\n")
	_, err := w.Write(b.Bytes())
	return err
}

// A member is one member of an object to be written.
type member struct {
	name  string
	value any // text, number, bool, json.RawMessage, []any, map[string]string, map[string]any, []member
}

func entryObject(e Entry) ([]member, error) {
	r := e.Record
	if err := textual(r); err != nil {
		return nil, err
	}
	flat := flatten(r)
	out := []member{{"title", r.Title}}
	add := func(name, text string) {
		if text != "" {
			out = append(out, member{name, text})
		}
	}
	add("uid", string(r.UID))
	add("$type", string(r.Type))
	add("login", flat.login)
	add("password", string(flat.password.Reveal()))
	add("login_url", flat.url)
	add("notes", r.Notes)
	if !r.Modified.IsZero() {
		out = append(out, member{"last_modified", r.Modified.Unix()})
	}
	if custom := customObject(flat.rest); len(custom) > 0 {
		out = append(out, member{"custom_fields", custom})
	}
	if len(e.Folder) == 0 {
		return out, nil
	}
	path, err := joinFolder(e.Folder)
	return append(out, member{"folders", []any{[]member{{"folder", path}}}}), err
}

// customObject has a member for each name; what has one name is a list.
func customObject(fields []pam.Field) []member {
	var names []string
	values := map[string][]any{}
	for _, f := range fields {
		name := fieldName(f)
		if values[name] == nil {
			names = append(names, name)
		}
		values[name] = append(values[name], fieldValues(f)...)
	}
	out := make([]member, len(names))
	for i, name := range names {
		out[i] = member{name, values[name]}
		if len(values[name]) == 1 {
			out[i].value = values[name][0]
		}
	}
	return out
}

// encode writes a value; members keep their order.
func encode(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case []member:
		b.WriteByte('{')
		for i, m := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := encode(b, m.name); err != nil {
				return err
			}
			b.WriteString(": ")
			if err := encode(b, m.value); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	case []any:
		b.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := encode(b, one); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder's line feed
	return nil
}
