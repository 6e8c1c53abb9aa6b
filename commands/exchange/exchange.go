// Package exchange reads and writes records in the JSON and CSV files that
// Keeper Commander imports and exports and in KeePass databases, and its project
// files, so that what there is can be brought along.
//
// It knows the shapes of those files (Commander's own importer and exporter of
// 2026 are the source), what of a record is what in KeePass, and nothing of a vault or of what record types define.
// Files come from anywhere: every error names the entry and field, and nothing
// that was read is left out without a note. Secrets are in [secret.Value] as soon
// as the decoder lets go of them.
package exchange

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// An Entry is one record of a file.
type Entry struct {
	// Place is where it stands: "record 3", "line 12".
	Place string
	// Record has the UID of the file, if that has one. Its folder is not set.
	Record pam.Record
	// Folder are the names of the folders it lies in, from the root.
	Folder []string
}

// A File is what was read.
type File struct {
	Entries []Entry
	Notes   []string // what could not be taken over
}

// Destroy destroys the secrets of all entries.
func (f File) Destroy() {
	for _, e := range f.Entries {
		e.Record.Destroy()
	}
}

// fault is an error about one entry; field may be empty.
func fault(e Entry, field, format string, args ...any) error {
	where := e.Where()
	if field != "" {
		where += ", field " + strconv.Quote(shorten(field))
	}
	return fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...))
}

// Where says in messages which entry of the file it is.
func (e Entry) Where() string {
	if e.Record.Title == "" {
		return e.Place
	}
	return e.Place + " (" + strconv.Quote(shorten(e.Record.Title)) + ")"
}

// maxShown is how much of a name a message shows, in characters: a file can have
// one of any length.
const maxShown = 60

func shorten(name string) string {
	if utf8.RuneCountInString(name) <= maxShown {
		return name
	}
	return string([]rune(name)[:maxShown]) + "..."
}

// isSecret reports whether the value of a field type is a secret.
func isSecret(typ string) bool {
	return slices.ContainsFunc(pam.SecretFieldTypes, func(t string) bool { return strings.EqualFold(t, typ) })
}

// fieldName is how the files name a field: "$type:label" or "$type".
func fieldName(f pam.Field) string {
	if f.Label == "" {
		return "$" + f.Type
	}
	return "$" + f.Type + ":" + f.Label
}

// namedField reads a field's name; one without a type is a text.
func namedField(name string) pam.Field {
	rest, typed := strings.CutPrefix(name, "$")
	if !typed {
		return pam.Field{Type: "text", Label: name}
	}
	typ, label, _ := strings.Cut(rest, ":")
	return pam.Field{Type: typ, Label: label}
}

// setText gives a field a text for its value.
func setText(f *pam.Field, text string) {
	if isSecret(f.Type) {
		f.Secret = secret.New([]byte(text))
		return
	}
	f.Values = append(f.Values, text)
}

// addPlain appends a field that the files have a place of its own for.
func addPlain(r *pam.Record, typ, text string) {
	if text == "" {
		return
	}
	f := pam.Field{Type: typ}
	setText(&f, text)
	r.Fields = append(r.Fields, f)
}

// textual refuses a record with a secret that a file of text cannot hold.
func textual(r pam.Record) error {
	for _, f := range r.Fields {
		if !utf8.Valid(f.Secret.Reveal()) {
			return fmt.Errorf("field %q is not UTF-8, which this format cannot hold; a KeePass database can", fieldName(f))
		}
	}
	return nil
}

// A flat record is one as the files have it: what has a place of its own, and the rest.
type flat struct {
	login, url string
	password   secret.Value
	rest       []pam.Field
}

func flatten(r pam.Record) flat {
	var out flat
	for _, f := range r.Fields {
		if !out.place(f) && (len(f.Values) > 0 || len(f.Parts) > 0 || !f.Secret.IsZero()) {
			out.rest = append(out.rest, f)
		}
	}
	return out
}

// place puts a field where the files have a place of its own for it, if that is
// free; false when there is none.
func (out *flat) place(f pam.Field) bool {
	if f.Label != "" || f.JSON { // such a place holds a text
		return false
	}
	if f.Type == "password" && !f.Secret.IsZero() && out.password.IsZero() {
		out.password = f.Secret
		return true
	}
	free := map[string]*string{"login": &out.login, "url": &out.url}[f.Type]
	if free == nil || *free != "" || len(f.Values) != 1 || f.Values[0] == "" {
		return false
	}
	*free = f.Values[0]
	return true
}

// splitFolder reads a path: folders are separated by a backslash, and one within
// a name is doubled.
func splitFolder(path string) []string {
	var names []string
	var b strings.Builder
	end := func() {
		if b.Len() > 0 {
			names = append(names, b.String())
		}
		b.Reset()
	}
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] != '\\':
			b.WriteByte(path[i])
		case i+1 < len(path) && path[i+1] == '\\':
			b.WriteByte('\\')
			i++
		default:
			end()
		}
	}
	end()
	return names
}

// joinFolder writes a path. A name that begins with a backslash cannot be told
// from a separator after a name that ends in one.
func joinFolder(names []string) (string, error) {
	escaped := make([]string, len(names))
	for i, n := range names {
		if strings.HasPrefix(n, `\`) {
			return "", fmt.Errorf("the name of folder %q begins with a backslash, which these files cannot hold", n)
		}
		escaped[i] = strings.ReplaceAll(n, `\`, `\\`)
	}
	return strings.Join(escaped, `\`), nil
}

// checkEncoding refuses what is no UTF-8 and returns the text without the mark
// that some editors put before it.
func checkEncoding(data []byte) ([]byte, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("line %d: the file is not UTF-8", invalidLine(data))
	}
	return []byte(strings.TrimPrefix(string(data), "\ufeff")), nil
}

func invalidLine(data []byte) int {
	line := 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			return line
		}
		if r == '\n' {
			line++
		}
		data = data[size:]
	}
	return line
}
