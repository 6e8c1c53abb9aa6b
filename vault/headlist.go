package vault

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"keyturn/pkg/pam"
)

// A HeadList is the heads of one moment in the order of lists, held so tightly
// that a list of a hundred thousand records is no burden. It does not change, so
// any number of goroutines may read it.
type HeadList struct {
	heads []*packedHead
	words []string     // types and folders, each once
	chunk []packedHead // what the next heads are put in: one by one they would cost more
}

const headChunk = 512

// A packedHead is one head. Its times are in UTC, as they are stored.
type packedHead struct {
	text              string // UID, title and summary, one after another
	title, summary    uint32 // where they begin in it
	kind, folder      uint32 // places among the words
	revision          int64
	created, modified int64  // seconds since 1970
	createdNanos      uint32 // and the nanoseconds beyond
	modifiedNanos     uint32
}

// HeadList returns the heads of the records that match keep (all, when it is nil),
// sorted by title without case, then UID. It is complete by the manifest: a row
// that is missing is an error, and then there is no list.
func (v *Vault) HeadList(ctx context.Context, keep func(pam.Head) bool) (*HeadList, error) {
	l := &HeadList{}
	places := map[string]uint32{}
	err := v.view(ctx, func(t *txn) error {
		return t.each(ctx, groupHead, every, func(int) {}, func(r row) error {
			var h pam.Head
			secrets, err := t.open(r, &h)
			destroy(secrets)
			if err == nil && (keep == nil || keep(h)) {
				l.add(h, places)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(l.heads, func(a, b *packedHead) int {
		return cmp.Or(compareLower(a.text[a.title:a.summary], b.text[b.title:b.summary]), cmp.Compare(a.text[:a.title], b.text[:b.title]))
	})
	return l, nil
}

func (l *HeadList) add(h pam.Head, places map[string]uint32) {
	word := func(s string) uint32 {
		n, known := places[s]
		if !known {
			n = uint32(len(l.words)) //nolint:gosec // fewer than there are rows
			places[s] = n
			l.words = append(l.words, s)
		}
		return n
	}
	title := len(h.UID)
	if len(l.chunk) == cap(l.chunk) {
		l.chunk = make([]packedHead, 0, headChunk)
	}
	l.chunk = append(l.chunk, packedHead{
		text:  string(h.UID) + h.Title + h.Summary,
		title: uint32(title), summary: uint32(title + len(h.Title)), //nolint:gosec // a row is less than 4 GiB
		kind: word(string(h.Type)), folder: word(string(h.Folder)),
		revision: h.Revision,
		created:  h.Created.Unix(), createdNanos: uint32(h.Created.Nanosecond()), //nolint:gosec // less than a second
		modified: h.Modified.Unix(), modifiedNanos: uint32(h.Modified.Nanosecond()), //nolint:gosec // less than a second
	})
	l.heads = append(l.heads, &l.chunk[len(l.chunk)-1])
}

// Len returns how many heads there are.
func (l *HeadList) Len() int { return len(l.heads) }

// All yields the heads, as often as it is asked.
func (l *HeadList) All() iter.Seq[pam.Head] {
	return func(yield func(pam.Head) bool) {
		for _, p := range l.heads {
			if !yield(p.head(l.words)) {
				return
			}
		}
	}
}

func (p *packedHead) head(words []string) pam.Head {
	return pam.Head{
		UID: pam.UID(p.text[:p.title]), Title: p.text[p.title:p.summary], Summary: p.text[p.summary:],
		Type: pam.RecordType(words[p.kind]), Folder: pam.UID(words[p.folder]), Revision: p.revision,
		Created:  time.Unix(p.created, int64(p.createdNanos)).UTC(),
		Modified: time.Unix(p.modified, int64(p.modifiedNanos)).UTC(),
	}
}

// compareLower is strings.Compare of two texts in lower case, without making them.
func compareLower(a, b string) int {
	for a != "" && b != "" {
		ra, na := utf8.DecodeRuneInString(a)
		rb, nb := utf8.DecodeRuneInString(b)
		if c := cmp.Compare(unicode.ToLower(ra), unicode.ToLower(rb)); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return strings.Compare(a, b) // one of them has ended
}
