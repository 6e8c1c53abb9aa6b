package vault

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"keyturn/pkg/pam"
)

// The catalogue says of every record what people look for, on a few shelves, so
// that a title is found and words are searched without opening every head. It is
// made of the heads and written with them: it decides nothing.
const (
	shelves      = 256
	catalogueKey = 16 // bytes of the meta row's key that shelves are chosen with
)

// A shelf is one row of the catalogue.
type shelf struct {
	Records []shelved `json:"records"`
	dirty   bool
}

// readText reads a shelf without the JSON library, which takes longer for the
// hundreds of records that a large vault has on one than all else that finding a
// title takes.
func (s *shelf) readText(text []byte) (ok bool) {
	s.Records, ok = readShelf(string(text))
	return ok
}

// What stands before and after the records in the text that this program writes.
const shelfBegin, shelfEnd = `{"records":[`, `]}`

// readShelf reads the records of a shelf; false when it is not laid out as this
// program does.
func readShelf(text string) (records []shelved, ok bool) {
	rest, begins := strings.CutPrefix(text, shelfBegin)
	rest, ends := strings.CutSuffix(rest, shelfEnd)
	if !begins || !ends || !utf8.ValidString(text) {
		return nil, false
	}
	records = make([]shelved, 0, strings.Count(rest, `["`)) // a quote within a text stands behind a backslash
	for before := `["`; rest != ""; before = `,["` {
		var r shelved
		for i := range r {
			if rest, ok = strings.CutPrefix(rest, before); !ok {
				return nil, false
			}
			if r[i], rest, ok = cutText(rest); !ok {
				return nil, false
			}
			before = `,"`
		}
		if rest, ok = strings.CutPrefix(rest, "]"); !ok {
			return nil, false
		}
		records = append(records, r)
	}
	return records, true
}

// cutText cuts a JSON string whose first quote is off already.
func cutText(quoted string) (text, rest string, ok bool) {
	end, escapes := 0, false
	for ; end < len(quoted) && quoted[end] != '"'; end++ {
		if quoted[end] == '\\' {
			escapes = true
			end++
		}
	}
	if end >= len(quoted) {
		return "", "", false
	}
	text, rest = quoted[:end], quoted[end+1:]
	if escapes {
		err := json.Unmarshal([]byte(`"`+text+`"`), &text)
		return text, rest, err == nil
	}
	return text, rest, true
}

// A shelved is UID, type, title and summary of a record.
type shelved [4]string

func shelvedOf(h pam.Head) shelved {
	return shelved{string(h.UID), string(h.Type), h.Title, h.Summary}
}

// head returns as much of a record's head as the catalogue knows.
func (s shelved) head() pam.Head {
	return pam.Head{UID: pam.UID(s[0]), Type: pam.RecordType(s[1]), Title: s[2], Summary: s[3]}
}

// catalogued reports whether the vault has a catalogue: one that an earlier
// program wrote gets it with its first change.
func (t *txn) catalogued() bool { return len(t.meta.Catalogue) == catalogueKey }

// shelfOf is the shelf of a title: the same for titles that differ in case only.
func (t *txn) shelfOf(title string) int {
	sum := sha256.Sum256(append(slices.Clone(t.meta.Catalogue), strings.Map(foldRune, title)...))
	return int(sum[0])
}

// foldRune is the same for all runes that [strings.EqualFold] takes for equal.
func foldRune(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

func (t *txn) shelfKey(n int) key { return ownedKey(groupCatalogue, t.v.id, number(int64(n))) }

// shelf reads a shelf once; one that was never written is empty.
func (t *txn) shelf(ctx context.Context, n int) (*shelf, error) {
	if s := t.shelves[n]; s != nil {
		return s, nil
	}
	s, _, err := load[shelf](ctx, t, t.shelfKey(n))
	if err != nil {
		return nil, err
	}
	if t.shelves == nil {
		t.shelves = map[int]*shelf{}
	}
	t.shelves[n] = &s
	return &s, nil
}

// shelve brings the catalogue from what a record was to what it is: either may
// be the zero head.
func (t *txn) shelve(ctx context.Context, was, is pam.Head) error {
	if was.UID != "" {
		s, err := t.shelf(ctx, t.shelfOf(was.Title))
		if err != nil {
			return err
		}
		s.Records = slices.DeleteFunc(s.Records, func(r shelved) bool { return r[0] == string(was.UID) })
		s.dirty = true
	}
	if is.UID != "" {
		s, err := t.shelf(ctx, t.shelfOf(is.Title))
		if err != nil {
			return err
		}
		s.Records = append(s.Records, shelvedOf(is))
		s.dirty = true
	}
	return nil
}

// makeCatalogue makes the catalogue of a vault that has none.
func (t *txn) makeCatalogue(ctx context.Context) error {
	if t.catalogued() {
		return nil
	}
	left, err := t.rows(ctx, groupCatalogue, every)
	if err != nil {
		return err
	}
	for _, r := range left { // of a key that is gone
		if err := t.drop(ctx, r.key); err != nil {
			return err
		}
	}
	t.meta.Catalogue = make([]byte, catalogueKey)
	if _, err := io.ReadFull(t.v.random, t.meta.Catalogue); err != nil {
		return pam.Errorf(pam.ErrIO, "draw a key: %w", err)
	}
	t.changed = true
	heads, err := t.heads(ctx)
	if err != nil {
		return err
	}
	for _, h := range heads {
		if err := t.shelve(ctx, pam.Head{}, h); err != nil {
			return err
		}
	}
	return nil
}

// flushCatalogue writes the shelves that changed.
func (t *txn) flushCatalogue(ctx context.Context) error {
	for n, s := range t.shelves {
		if !s.dirty {
			continue
		}
		if err := t.put(ctx, t.shelfKey(n), s); err != nil {
			return err
		}
	}
	return nil
}

// called returns the heads of the records with that title, whatever the case,
// sorted by title and UID;
// without a catalogue those of all records.
func (t *txn) called(ctx context.Context, title string) ([]pam.Head, error) {
	if !t.catalogued() {
		return t.heads(ctx)
	}
	s, err := t.shelf(ctx, t.shelfOf(title))
	if err != nil {
		return nil, err
	}
	var heads []pam.Head
	for _, r := range s.Records {
		if !strings.EqualFold(r[2], title) {
			continue
		}
		h, err := t.mustHead(ctx, pam.UID(r[0]))
		if err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	sortHeads(heads)
	return heads, nil
}

// Search returns the heads of the records that match, sorted by title without
// case, then UID. match may look at UID, type, title and summary.
func (v *Vault) Search(ctx context.Context, match func(pam.Head) bool) ([]pam.Head, error) {
	var found []pam.Head
	err := v.view(ctx, func(t *txn) error {
		if !t.catalogued() {
			heads, err := t.heads(ctx)
			found = slices.DeleteFunc(heads, func(h pam.Head) bool { return !match(h) })
			return err
		}
		uids, err := t.shelvedAs(ctx, match)
		if err != nil {
			return err
		}
		for _, uid := range uids {
			h, err := t.mustHead(ctx, uid)
			if err != nil {
				return err
			}
			found = append(found, h)
		}
		sortHeads(found)
		return nil
	})
	return found, err
}

// shelvedAs returns the records that match by what the catalogue says.
func (t *txn) shelvedAs(ctx context.Context, match func(pam.Head) bool) ([]pam.UID, error) {
	var uids []pam.UID
	err := t.each(ctx, groupCatalogue, t.v.id, func(int) {}, func(r row) error {
		var doc shelf
		secrets, err := t.open(r, &doc)
		destroy(secrets)
		if err != nil {
			return err
		}
		for _, s := range doc.Records {
			if match(s.head()) {
				uids = append(uids, pam.UID(s[0]))
			}
		}
		return nil
	})
	return uids, err
}
