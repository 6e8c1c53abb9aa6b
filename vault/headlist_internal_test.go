package vault

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
)

// What a list holds so tightly comes out as it went in, however long a text is
// and whenever it was written.
func TestAHeadListGivesBackWhatItHolds(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.Just(""), rapid.Map(rapid.IntRange(0, 2*headChunk), func(n int) string {
		return strings.Repeat("x", n)
	}))
	moment := rapid.Map(rapid.Int64Range(-1<<40, 1<<40), func(ns int64) time.Time { return time.Unix(ns>>8, ns<<20).UTC() })
	head := rapid.Custom(func(t *rapid.T) pam.Head {
		return pam.Head{
			UID: pam.UID(text.Draw(t, "uid")), Title: text.Draw(t, "title"), Summary: text.Draw(t, "summary"),
			Type: pam.RecordType(text.Draw(t, "type")), Folder: pam.UID(text.Draw(t, "folder")),
			Revision: rapid.Int64().Draw(t, "revision"), Created: moment.Draw(t, "created"), Modified: moment.Draw(t, "modified"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		heads := rapid.SliceOfNDistinct(head, 0, 12, func(h pam.Head) pam.UID { return h.UID }).Draw(t, "heads")
		l, known := &HeadList{}, map[string]uint64{}
		for _, h := range heads {
			l.add(h, known)
		}
		l.sort()
		slices.SortFunc(heads, func(a, b pam.Head) int {
			return cmp.Or(cmp.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title)), cmp.Compare(a.UID, b.UID))
		})
		if got := slices.Collect(l.All()); l.Len() != len(heads) || !slices.Equal(got, heads) {
			t.Errorf("%d heads: %v instead of %v", l.Len(), got, heads)
		}
	})
}
