package vault

import (
	"bytes"
	"strconv"
	"strings"
)

// A page is one page of the manifest: the revision of each row on it. Pages grow
// with the vault, and most commands ask one for a single row: it stays the text
// that it was read as until somebody changes it.
type page struct {
	text  []byte           // "ENTRY":REVISION, ... as read; nil when rows has them
	rows  map[string]int64 // nil while they are in text
	dirty bool
}

type pageDocument struct {
	Rows map[string]int64 `json:"rows"`
}

// What stands before and after the entries in the text that this program writes.
var pageBegin, pageEnd = []byte(`{"rows":{`), []byte(`}}`)

// readPage reads a page's plaintext.
func readPage(plain []byte) (*page, error) {
	text, _, ok := cutSegment(plain)
	if !ok {
		return nil, errFrame
	}
	entries, begins := bytes.CutPrefix(text, pageBegin)
	entries, ends := bytes.CutSuffix(entries, pageEnd)
	p := &page{text: entries}
	if begins && ends && p.scan(func([]byte, int64) {}) {
		return p, nil
	}
	// It is laid out in another way: so another program may have written it.
	var doc pageDocument
	if _, err := decodeFrame(plain, &doc); err != nil {
		return nil, err
	}
	if doc.Rows == nil {
		doc.Rows = map[string]int64{}
	}
	return &page{rows: doc.Rows}, nil
}

// scan calls fn with each entry of the text; false when that is not laid out as
// this program does.
func (p *page) scan(fn func(entry []byte, revision int64)) bool {
	for rest := p.text; len(rest) > 0; {
		if rest[0] != '"' {
			return false
		}
		entry, after, ok := bytes.Cut(rest[1:], []byte(`":`))
		if !ok || bytes.ContainsAny(entry, `"\`) {
			return false
		}
		revision, size := leadingNumber(after)
		switch rest = after[size:]; {
		case size == 0:
			return false
		case len(rest) > 1 && rest[0] == ',':
			rest = rest[1:]
		case len(rest) > 0:
			return false
		}
		fn(entry, revision)
	}
	return true
}

// leadingNumber reads the digits that b begins with; size 0 when they are no
// revision.
func leadingNumber(b []byte) (n int64, size int) {
	for size < len(b) && b[size] >= '0' && b[size] <= '9' {
		size++
	}
	n, err := strconv.ParseInt(string(b[:size]), 10, 64)
	if err != nil {
		return 0, 0
	}
	return n, size
}

// revision returns that of an entry.
func (p *page) revision(entry string) (revision int64, listed bool) {
	if p.rows != nil {
		revision, listed = p.rows[entry]
		return revision, listed
	}
	name := `"` + entry + `":`
	i := bytes.Index(p.text, []byte(name))
	if i < 0 {
		return 0, false
	}
	revision, _ = leadingNumber(p.text[i+len(name):])
	return revision, true
}

// each calls fn with the entries that begin with prefix.
// The bytes are for the call only.
func (p *page) each(prefix string, fn func(entry []byte, revision int64)) {
	for entry, revision := range p.rows {
		if strings.HasPrefix(entry, prefix) {
			fn([]byte(entry), revision)
		}
	}
	if p.rows == nil {
		p.scan(func(entry []byte, revision int64) {
			if bytes.HasPrefix(entry, []byte(prefix)) {
				fn(entry, revision)
			}
		})
	}
}

// entries returns all entries, from now on for changing.
func (p *page) entries() map[string]int64 {
	if p.rows == nil {
		rows := map[string]int64{}
		p.each("", func(entry []byte, revision int64) { rows[string(entry)] = revision })
		p.rows, p.text = rows, nil
	}
	return p.rows
}

// set changes an entry; revision 0 takes it off.
func (p *page) set(entry string, revision int64) {
	if revision == 0 {
		delete(p.entries(), entry)
	} else {
		p.entries()[entry] = revision
	}
	p.dirty = true
}
