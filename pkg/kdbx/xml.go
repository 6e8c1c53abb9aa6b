package kdbx

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tobischo/gokeepasslib/v3"

	"keyturn/pkg/secret"
)

// What the XML of a file may hold. Its password was right, but whoever made it
// may mean harm: a file of some hundred kilobytes can unpack to millions of
// entries. Nobody has as many as these.
const (
	maxDepth   = 256      // of elements: KeePass needs a dozen, and one for each group within a group
	maxText    = 64 << 20 // in bytes
	maxMarkup  = 1 << 20  // of one tag with its attributes, in bytes
	maxEntries = 200_000  // in the recycle bin, too
	maxGroups  = 20_000
	maxFields  = 1000    // of an entry
	maxValue   = 4 << 20 // of a name or value, in bytes
)

// A bounded reader gives the XML decoder no more than it may take, for the
// decoder holds a whole tag or text before it lets go of it.
type bounded struct {
	in     *bufio.Reader
	left   int  // in all
	token  int  // of the token that is being read
	last   byte // the last one
	markup bool // the token is a tag, and no text
}

// next says that another token begins. Of a text's end the decoder has read the
// beginning of the tag after it.
func (b *bounded) next() { b.token, b.markup = 0, b.last == '<' }

// ReadByte is what the decoder calls.
func (b *bounded) ReadByte() (byte, error) {
	c, err := b.in.ReadByte()
	if err != nil {
		return c, err
	}
	if b.token == 0 && c == '<' {
		b.markup = true
	}
	b.last = c
	b.left--
	b.token++
	switch {
	case b.left < 0:
		return 0, fmt.Errorf("%w: its XML is larger than %d MiB", ErrCost, maxText>>20)
	case b.markup && b.token > maxMarkup:
		return 0, fmt.Errorf("%w: a tag in its XML is larger than %d KiB", ErrCost, maxMarkup>>10)
	}
	return c, nil
}

// Read is there for [io.Reader]; the decoder reads byte by byte.
func (b *bounded) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c, err := b.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

// A reader walks over the XML of a database. Protected values share one stream
// cipher, so that each one has to be decrypted in its turn, also where it is not
// wanted.
type reader struct {
	in     *bounded
	dec    *xml.Decoder
	stream *gokeepasslib.StreamManager
	depth  int
	db     Database
	groups []group // where it is
	seen   struct{ entries, groups int }
	keys   map[string]bool // of the present entry's fields

	bin    string // the recycle bin's UUID, as it is written
	binned bool   // whether there is one
	hash   string // of the header, in 3.1
}

type group struct {
	uuid, name string
	path       []string // of its entries, who share it; made when there is one
}

// readXML reads the document. It must be whole: what is cut off is refused.
func readXML(text *bufio.Reader, stream *gokeepasslib.StreamManager, h *header) (Database, error) {
	in := &bounded{in: text, left: maxText}
	r := &reader{in: in, dec: xml.NewDecoder(in), stream: stream, keys: map[string]bool{}}
	err := r.document()
	if err == nil && h.version == Version31 && r.hash != "" {
		if sum := sha256.Sum256(h.raw); base64.StdEncoding.EncodeToString(sum[:]) != r.hash {
			err = errDamaged
		}
	}
	if err != nil {
		r.db.Destroy()
		return Database{}, err
	}
	return r.db, nil
}

func (r *reader) document() error {
	found := false
	for {
		t, err := r.token()
		switch {
		case errors.Is(err, io.EOF) && found:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("its XML has no KeePassFile")
		case err != nil:
			return notXML(err)
		}
		switch t := t.(type) {
		case xml.Directive:
			return errors.New("its XML declares a document type, which no KeePass database does")
		case xml.StartElement:
			if found || t.Name.Local != "KeePassFile" {
				return errors.New("its XML is not that of a KeePass database")
			}
			found = true
			if err := r.children(r.file); err != nil {
				return err
			}
		}
	}
}

// token reads the next token.
func (r *reader) token() (xml.Token, error) {
	r.in.next()
	return r.dec.Token()
}

func notXML(err error) error {
	if errors.Is(err, ErrCost) || errors.Is(err, errDamaged) {
		return err
	}
	return fmt.Errorf("its XML is damaged: %w", err)
}

// children calls visit for each element below the one that has just begun, which
// must read it to its end.
func (r *reader) children(visit func(xml.StartElement) error) error {
	if r.depth++; r.depth > maxDepth {
		return fmt.Errorf("its XML nests deeper than %d elements", maxDepth)
	}
	defer func() { r.depth-- }()
	for {
		t, err := r.token()
		if err != nil {
			return notXML(err)
		}
		switch t := t.(type) {
		case xml.Directive:
			return errors.New("its XML declares a document type, which no KeePass database does")
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if err := visit(t); err != nil {
				return err
			}
		}
	}
}

// skip reads an element that is not wanted.
func (r *reader) skip(e xml.StartElement) error {
	if isProtected(e) {
		v, _, err := r.value(e)
		v.Destroy()
		return err
	}
	return r.children(r.skip)
}

func isProtected(e xml.StartElement) bool {
	for _, a := range e.Attr {
		if a.Name.Local == "Protected" {
			return strings.EqualFold(a.Value, "true")
		}
	}
	return false
}

// value reads an element's text, and decrypts it if it is protected.
func (r *reader) value(e xml.StartElement) (v secret.Value, protected bool, err error) {
	var text []byte
	for {
		t, err := r.token()
		if err != nil {
			return v, false, notXML(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			text = append(text, t...)
			continue
		case xml.EndElement:
		case xml.Comment:
			continue
		default:
			return v, false, fmt.Errorf("its XML has an element within the text of %s", e.Name.Local)
		}
		break
	}
	if !isProtected(e) {
		return secret.New(text), false, nil
	}
	packed := strings.TrimSpace(string(text))
	if _, err := base64.StdEncoding.DecodeString(packed); err != nil {
		return v, true, errors.New("a protected value is not base64")
	}
	return secret.New(r.stream.Unpack(packed)), true, nil
}

// wanted reads a text that is kept, and refuses one that is too long.
func (r *reader) wanted(e xml.StartElement) (v secret.Value, protected bool, err error) {
	v, protected, err = r.value(e)
	if err == nil && v.Len() > maxValue {
		err = fmt.Errorf("%w: a text of %d bytes; at most %d are read", ErrCost, v.Len(), maxValue)
	}
	return v, protected, err
}

func (r *reader) text(e xml.StartElement) (string, error) {
	v, _, err := r.wanted(e)
	defer v.Destroy()
	return string(v.Reveal()), err
}

func (r *reader) file(e xml.StartElement) error {
	switch e.Name.Local {
	case "Meta":
		return r.children(r.meta)
	case "Root":
		return r.children(func(e xml.StartElement) error {
			if e.Name.Local == "Group" {
				return r.group(e)
			}
			return r.skip(e)
		})
	}
	return r.skip(e)
}

func (r *reader) meta(e xml.StartElement) (err error) {
	switch e.Name.Local {
	case "RecycleBinUUID":
		r.bin, err = r.text(e)
	case "RecycleBinEnabled":
		var text string
		text, err = r.text(e)
		r.binned = strings.EqualFold(text, "true")
	case "HeaderHash":
		r.hash, err = r.text(e)
	default:
		err = r.skip(e)
	}
	return err
}

// group reads a group. Its name and UUID stand before what is in it, in every
// writer's files; one that says otherwise is refused.
func (r *reader) group(xml.StartElement) error {
	if r.seen.groups++; r.seen.groups > maxGroups {
		return fmt.Errorf("%w: more than %d groups", ErrCost, maxGroups)
	}
	r.groups = append(r.groups, group{})
	at := len(r.groups) - 1
	inside := false
	err := r.children(func(e xml.StartElement) (err error) {
		switch e.Name.Local {
		case "UUID", "Name":
			if inside {
				return errors.New("a group's name stands after what is in it")
			}
			into := &r.groups[at].uuid
			if e.Name.Local == "Name" {
				into = &r.groups[at].name
			}
			*into, err = r.text(e)
		case "Group":
			inside = true
			err = r.group(e)
		case "Entry":
			inside = true
			err = r.entry()
		default:
			err = r.skip(e)
		}
		return err
	})
	r.groups = r.groups[:at]
	return err
}

// recycled reports whether the present group is in the recycle bin.
func (r *reader) recycled() bool {
	for _, g := range r.groups {
		if r.binned && g.uuid == r.bin {
			return true
		}
	}
	return false
}

// path are the names of the groups that lead to the present one, without the root.
func (r *reader) path() []string {
	if len(r.groups) < 2 {
		return nil
	}
	last := &r.groups[len(r.groups)-1]
	if last.path == nil {
		for _, g := range r.groups[1:] {
			last.path = append(last.path, g.name)
		}
		last.path = slices.Clip(last.path)
	}
	return last.path
}

func (r *reader) entry() error {
	if r.seen.entries++; r.seen.entries > maxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrCost, maxEntries)
	}
	e := Entry{Groups: r.path()}
	clear(r.keys)
	err := r.children(func(x xml.StartElement) error { return r.part(x, &e) })
	if err != nil || r.recycled() {
		Database{Entries: []Entry{e}}.Destroy()
		r.db.Recycled++
		return err
	}
	r.db.Entries = append(r.db.Entries, e)
	return nil
}

// part reads one element of an entry.
func (r *reader) part(x xml.StartElement, e *Entry) error {
	switch x.Name.Local {
	case "UUID":
		text, err := r.text(x)
		if err != nil {
			return err
		}
		if id, err := base64.StdEncoding.DecodeString(text); err == nil && len(id) == len(e.UUID) {
			copy(e.UUID[:], id)
		}
		return nil
	case "String":
		return r.field(e)
	case "Binary":
		e.Attachments++
	case "Tags":
		text, err := r.text(x)
		e.Tagged = strings.TrimSpace(text) != ""
		return err
	case "Times":
		return r.children(func(x xml.StartElement) error {
			if x.Name.Local != "Expires" {
				return r.skip(x)
			}
			text, err := r.text(x)
			e.Expires = strings.EqualFold(text, "true")
			return err
		})
	case "History":
		return r.children(func(x xml.StartElement) error {
			e.Former++
			return r.skip(x)
		})
	}
	return r.skip(x)
}

// field reads one text of an entry.
func (r *reader) field(e *Entry) error {
	var f Field
	err := r.children(func(x xml.StartElement) (err error) {
		switch x.Name.Local {
		case "Key":
			f.Key, err = r.text(x)
		case "Value":
			f.Value.Destroy()
			f.Value, f.Protected, err = r.wanted(x)
		default:
			err = r.skip(x)
		}
		return err
	})
	e.Fields = append(e.Fields, f)
	switch {
	case err != nil:
		return err
	case !utf8.ValidString(f.Key):
		return errors.New("the name of a field is not UTF-8")
	case r.keys[f.Key]: // which of two passwords is the right one, nobody here knows
		return fmt.Errorf("entry %d of the file has two fields %.60q", r.seen.entries, f.Key)
	case len(e.Fields) > maxFields:
		return fmt.Errorf("%w: entry %d of the file has more than %d fields", ErrCost, r.seen.entries, maxFields)
	}
	r.keys[f.Key] = true
	return nil
}
