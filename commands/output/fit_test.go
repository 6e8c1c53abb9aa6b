package output_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/olekukonko/tablewriter/pkg/twwidth"
	"pgregory.net/rapid"

	"keyturn/commands/output"
)

// onScreen renders a table on a screen of so many columns.
func onScreen(t require, screen int, table output.Table) string {
	t.Helper()
	var b bytes.Buffer
	if err := output.Render(&b, output.FormatTable, output.View{Tables: []output.Table{table}}, screen); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type require interface {
	Helper()
	Fatal(args ...any)
}

func jobTable() output.Table {
	return output.Table{
		Header: []string{"Machine", "Kind", "Name", "Detail"}, Prose: []string{"Kind", "Detail"},
		Rows: [][]string{
			{"SRV1", "IIS virtual directory", `\Orders\Nightly export`, "used from the next request on"},
			{"SRV2", "service", "日本語サーバ", ""},
		},
	}
}

func TestATableFitsOnItsScreen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		screen int
		want   string
	}{
		"nobody knows how wide it is": {0, `Machine    Kind                   Name                    Detail
---------  ---------------------  ----------------------  -----------------------------
SRV1       IIS virtual directory  \Orders\Nightly export  used from the next request on
SRV2       service                日本語サーバ
`},
		"the room beside the headers goes first": {85, `Machine  Kind                   Name                    Detail
-------  ---------------------  ----------------------  -----------------------------
SRV1     IIS virtual directory  \Orders\Nightly export  used from the next request on
SRV2     service                日本語サーバ
`},
		"then the widest prose wraps": {80, `Machine  Kind                   Name                    Detail
-------  ---------------------  ----------------------  ------------------------
SRV1     IIS virtual directory  \Orders\Nightly export  used from the next
                                                        request on
SRV2     service                日本語サーバ
`},
		"then all prose": {75, `Machine  Kind              Name                    Detail
-------  ----------------  ----------------------  ------------------------
SRV1     IIS virtual       \Orders\Nightly export  used from the next
         directory                                 request on
SRV2     service           日本語サーバ
`},
		"then the last goes below": {48, `Machine  Kind             Name
    Detail
-------  ---------------  ----------------------
SRV1     IIS virtual      \Orders\Nightly export
         directory
    used from the next request on
SRV2     service          日本語サーバ
`},
		"then each row is a block": {38, `Machine: SRV1
Kind:    IIS virtual directory
Name:    \Orders\Nightly export
Detail:  used from the next request on

Machine: SRV2
Kind:    service
Name:    日本語サーバ
`},
		"whose prose wraps too": {32, `Machine: SRV1
Kind:    IIS virtual directory
Name:    \Orders\Nightly export
Detail:  used from the next
         request on

Machine: SRV2
Kind:    service
Name:    日本語サーバ
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, onScreen(t, c.screen, jobTable())); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestATableOfThePageKeepsItsShape(t *testing.T) {
	t.Parallel()
	table := jobTable()
	whole := onScreen(t, 0, table)
	table.Fixed = true
	if d := cmp.Diff(whole, onScreen(t, 20, table)); d != "" {
		t.Error(d)
	}
}

func TestAnEmptyTableHasItsHeaderOnEveryScreen(t *testing.T) {
	t.Parallel()
	if got := onScreen(t, 3, output.Table{Header: []string{"A", "B"}, Prose: []string{"B"}}); got != "A    B\n---  ---\n" {
		t.Errorf("got %q", got)
	}
}

func TestWarningsWrapBetweenWords(t *testing.T) {
	t.Parallel()
	v := output.View{After: []string{"a line that may be a command"}, Warnings: []string{"warning: two words"}}
	var b bytes.Buffer
	if err := output.Render(&b, output.FormatTable, v, 12); err != nil || b.String() != "a line that may be a command\nwarning: two\nwords\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// aTable draws a table with up to five columns, some of them prose.
func aTable(r *rapid.T) output.Table {
	word := rapid.StringMatching(`[a-z0-9\\é日本:,]{1,14}`)
	prose := rapid.Map(rapid.SliceOfN(word, 0, 12), func(words []string) string { return strings.Join(words, " ") })
	name := rapid.Map(rapid.SliceOfN(word, 0, 2), func(words []string) string { return strings.Join(words, " ") })
	headers := []string{"A", "Kind", "Long Header", "D", "Detail"}[:rapid.IntRange(1, 5).Draw(r, "columns")]
	t := output.Table{Header: headers}
	for _, h := range headers {
		if rapid.Bool().Draw(r, h+" is prose") {
			t.Prose = append(t.Prose, h)
		}
	}
	for range rapid.IntRange(1, 4).Draw(r, "rows") {
		row := make([]string, len(headers))
		for i, h := range headers {
			if row[i] = name.Draw(r, "name"); slices.Contains(t.Prose, h) {
				row[i] = prose.Draw(r, "prose")
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// words are all words, sorted.
func words(texts ...string) []string {
	var all []string
	for _, text := range texts {
		all = append(all, strings.Fields(text)...)
	}
	slices.Sort(all)
	return all
}

// However narrow the screen: no word of a cell is lost, broken or doubled, what is no
// prose stays in one line, and a line is wider than the screen only when one cell of
// it is that cannot be cut.
func TestNothingIsLostOnANarrowScreen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		table := aTable(r)
		screen := rapid.IntRange(1, 130).Draw(r, "screen")
		got := onScreen(r, screen, table)
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		blocks := !slices.ContainsFunc(lines, func(l string) bool { return l != "" && strings.Trim(l, "- ") == "" })

		uncut, beside := 0, len("    ") // the widest that cannot be cut, and what is before it
		for i, h := range table.Header {
			uncut = max(uncut, twwidth.Width(h))
			if blocks {
				beside = max(beside, len(h)+len(": "))
			}
			for _, row := range table.Rows {
				if !slices.Contains(table.Prose, h) {
					if row[i] != "" && !strings.Contains(got, row[i]) {
						r.Fatalf("%q is broken:\n%s", row[i], got)
					}
					uncut = max(uncut, twwidth.Width(row[i]))
				}
				for w := range strings.FieldsSeq(row[i]) {
					uncut = max(uncut, twwidth.Width(w), 24)
				}
			}
		}
		for _, l := range lines {
			if w := twwidth.Width(l); w > max(screen, beside+uncut) {
				r.Fatalf("%d columns wide on a screen of %d: %q in\n%s", w, screen, l, got)
			}
		}
		expected := rowWords
		if blocks {
			expected = blockWords
		}
		if d := cmp.Diff(expected(table), words(withoutRule(lines)...)); d != "" {
			r.Fatalf("words differ:\n%s\n%s", d, got)
		}
	})
}

func withoutRule(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.Trim(l, "- ") == "" })
}

// rowWords are the words of a table that is drawn in rows.
func rowWords(table output.Table) []string {
	return words(slices.Concat(append(slices.Clone(table.Rows), table.Header)...)...)
}

// blockWords are the words of a table that is drawn in blocks: its headers are before
// each cell that is not empty.
func blockWords(table output.Table) []string {
	var texts []string
	for _, row := range table.Rows {
		for i, cell := range row {
			if texts = append(texts, cell); cell != "" || i == 0 {
				texts = append(texts, table.Header[i]+":")
			}
		}
	}
	return words(texts...)
}

// Cells of prose come back whole when the lines of each column are put together.
func TestCellsReassemble(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		word := rapid.StringMatching(`[a-z]{1,9}`)
		text := rapid.Map(rapid.SliceOfN(word, 1, 15), func(words []string) string { return strings.Join(words, " ") })
		a, b := text.Draw(r, "a"), text.Draw(r, "b")
		screen := rapid.IntRange(12+2+24, 90).Draw(r, "screen")
		got := onScreen(r, screen, output.Table{Header: []string{"A", "B"}, Prose: []string{"A", "B"}, Rows: [][]string{{a, b}}})
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		first, _, _ := strings.Cut(lines[1], " ")
		var left, right []string
		for _, l := range lines[2:] {
			l += strings.Repeat(" ", max(0, len(first)-len(l)))
			left, right = append(left, l[:len(first)]), append(right, l[len(first):])
		}
		if strings.Join(strings.Fields(strings.Join(left, " ")), " ") != a || strings.Join(strings.Fields(strings.Join(right, " ")), " ") != b {
			r.Errorf("%q and %q became\n%s", a, b, got)
		}
	})
}

// What fits is as it would be without a screen.
func TestWhatFitsIsUnchanged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		table := aTable(r)
		whole := onScreen(r, 0, table)
		widest := 0
		for l := range strings.SplitSeq(whole, "\n") {
			widest = max(widest, twwidth.Width(l))
		}
		if d := cmp.Diff(whole, onScreen(r, widest+rapid.IntRange(0, 50).Draw(r, "room"), table)); d != "" {
			r.Error(d)
		}
	})
}
