package vault

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A page is the same whether its entries are looked up in its text or in a map,
// and whoever laid out the text.
func TestAPageIsWhatItsDocumentSays(t *testing.T) {
	t.Parallel()
	entry := rapid.StringMatching(`[1-9][0-9]?/[A-Za-z0-9_-]{0,22}/[A-Za-z0-9_-]{1,22}`)
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.MapOf(entry, rapid.Int64Range(1, 1<<62)).Draw(t, "rows")
		other := entry.Draw(t, "another entry")
		text, err := json.Marshal(pageDocument{rows})
		if err != nil {
			t.Fatal(err)
		}
		spaced, err := json.MarshalIndent(pageDocument{rows}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		escaped := strings.ReplaceAll(string(text), "/", `\/`)
		for _, layout := range []string{string(text), string(spaced), escaped} {
			plain := append(binary.AppendUvarint(nil, uint64(len(layout))), layout...)
			p, err := readPage(append(plain, 0))
			if err != nil {
				t.Fatal(err)
			}
			samePage(t, p, rows, other)
			p.set(other, 7)
			p.set("1//gone", 0)
			want := maps.Clone(rows)
			want[other] = 7
			delete(want, "1//gone")
			samePage(t, p, want, "1//gone")
		}
	})
}

func samePage(t *rapid.T, p *page, rows map[string]int64, other string) {
	all := map[string]int64{}
	p.each("", func(entry []byte, revision int64) { all[string(entry)] = revision })
	if !maps.Equal(all, rows) {
		t.Errorf("the entries are %v instead of %v", all, rows)
	}
	for entry, want := range rows {
		if got, listed := p.revision(entry); !listed || got != want {
			t.Errorf("%s has revision %d, %t instead of %d", entry, got, listed, want)
		}
	}
	got, listed := p.revision(other)
	if want, there := rows[other]; listed != there || got != want {
		t.Errorf("%s has revision %d, %t instead of %d, %t", other, got, listed, want, there)
	}
}
