package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"iter"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"keyturn/pkg/pam"
)

// A HeadList is the heads of one moment in the order of lists, held so tightly
// that a list of a hundred thousand records is no burden: some seventy bytes each,
// in a few pieces without pointers that the garbage collector does not look into.
// It does not change, so any number of goroutines may read it.
type HeadList struct {
	packed [][]byte    // heads, one after another
	places []headPlace // where they are, in the order of lists
	words  []string    // types and folders, each once
}

const headChunk = 64 << 10

type headPlace struct{ chunk, at uint32 }

// HeadList returns the heads of the records that match keep (all, when it is nil),
// sorted by title without case, then UID. It is complete by the manifest: a row
// that is missing is an error, and then there is no list.
func (v *Vault) HeadList(ctx context.Context, keep func(pam.Head) bool) (*HeadList, error) {
	l := &HeadList{}
	known := map[string]uint64{}
	err := v.view(ctx, func(t *txn) error {
		return t.each(ctx, groupHead, every, func(int) {}, func(r row) error {
			var h pam.Head
			secrets, err := t.open(r, &h)
			destroy(secrets)
			if err == nil && (keep == nil || keep(h)) {
				l.add(h, known)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	l.sort()
	return l, nil
}

func (l *HeadList) sort() {
	slices.SortFunc(l.places, func(a, b headPlace) int {
		h, g := l.at(a), l.at(b)
		uidH, uidG := h.text(), g.text()
		return cmp.Or(compareLower(h.text(), g.text()), bytes.Compare(uidH, uidG))
	})
}

// add packs a head behind the others: UID, title and summary, each after its
// length, then numbers. known says where its type and folder are among the words.
func (l *HeadList) add(h pam.Head, known map[string]uint64) {
	word := func(s string) uint64 {
		n, there := known[s]
		if !there {
			n = uint64(len(l.words))
			known[s] = n
			l.words = append(l.words, s)
		}
		return n
	}
	const numbers = 7
	size := len(h.UID) + len(h.Title) + len(h.Summary) + (3+numbers)*binary.MaxVarintLen64
	n := len(l.packed) - 1
	if n < 0 || cap(l.packed[n])-len(l.packed[n]) < size {
		l.packed = append(l.packed, make([]byte, 0, max(size, headChunk)))
		n++
	}
	b := l.packed[n]
	l.places = append(l.places, headPlace{uint32(n), uint32(len(b))}) //nolint:gosec // a list is less than 4 GiB
	for _, s := range []string{string(h.UID), h.Title, h.Summary} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, word(string(h.Type))), word(string(h.Folder)))
	b = binary.AppendVarint(b, h.Revision)
	b = binary.AppendVarint(b, h.Created.Unix())
	b = binary.AppendUvarint(b, uint64(h.Created.Nanosecond())) //nolint:gosec // less than a second
	b = binary.AppendVarint(b, h.Modified.Unix()-h.Created.Unix())
	l.packed[n] = binary.AppendUvarint(b, uint64(h.Modified.Nanosecond())) //nolint:gosec // less than a second
}

// Len returns how many heads there are.
func (l *HeadList) Len() int { return len(l.places) }

// All yields the heads, as often as it is asked.
func (l *HeadList) All() iter.Seq[pam.Head] {
	return func(yield func(pam.Head) bool) {
		for _, p := range l.places {
			if !yield(l.head(p)) {
				return
			}
		}
	}
}

func (l *HeadList) at(p headPlace) packedHead { return l.packed[p.chunk][p.at:] }

// head unpacks one head. Its times are in UTC, as they are stored.
func (l *HeadList) head(p headPlace) pam.Head {
	b := l.at(p)
	h := pam.Head{UID: pam.UID(b.text()), Title: string(b.text()), Summary: string(b.text())}
	h.Type, h.Folder = pam.RecordType(l.words[b.unsigned()]), pam.UID(l.words[b.unsigned()])
	h.Revision = b.signed()
	created := b.signed()
	h.Created = time.Unix(created, int64(b.unsigned())).UTC()             //nolint:gosec // less than a second
	h.Modified = time.Unix(created+b.signed(), int64(b.unsigned())).UTC() //nolint:gosec // less than a second
	return h
}

// A packedHead is what is left to read of a head. It was packed a moment ago, so
// it is what it should be.
type packedHead []byte

func (b *packedHead) text() []byte {
	n := b.unsigned()
	s := (*b)[:n:n]
	*b = (*b)[n:]
	return s
}

func (b *packedHead) unsigned() uint64 {
	n, size := binary.Uvarint(*b)
	*b = (*b)[size:]
	return n
}

func (b *packedHead) signed() int64 {
	n, size := binary.Varint(*b)
	*b = (*b)[size:]
	return n
}

// compareLower is strings.Compare of two texts in lower case, without making them.
func compareLower[T string | []byte](a, b T) int {
	for len(a) > 0 && len(b) > 0 {
		ra, na := firstLower(a)
		rb, nb := firstLower(b)
		if ra != rb {
			return cmp.Compare(ra, rb)
		}
		a, b = a[na:], b[nb:]
	}
	return cmp.Compare(len(a), len(b)) // one of them has ended
}

// firstLower is the first character of s in lower case, and how long it is in s.
func firstLower[T string | []byte](s T) (r rune, size int) {
	c := s[0]
	switch {
	case c >= utf8.RuneSelf:
		r, size = utf8.DecodeRuneInString(string(s[:min(len(s), utf8.UTFMax)]))
		return unicode.ToLower(r), size
	case c >= 'A' && c <= 'Z':
		c += 'a' - 'A'
	}
	return rune(c), 1
}
