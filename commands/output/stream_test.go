package output_test

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keyturn/commands/output"
)

func items[T any](list []T) output.List {
	return func(yield func(any) bool) {
		for _, item := range list {
			if !yield(item) {
				return
			}
		}
	}
}

// What is made one by one looks as if it had been there at once, in every form.
func TestAStreamLooksLikeAWhole(t *testing.T) {
	t.Parallel()
	cell := rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9]{1,4}`), rapid.SampledFrom([]string{"", "  x ", "日本", "=1", "a b", strings.Repeat("x", 90)}))
	rapid.Check(t, func(r *rapid.T) {
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, 2, 2), 0, 9).Draw(r, "rows")
		first := rapid.IntRange(0, len(rows)).Draw(r, "rows that are there")
		docs := make([]map[string]any, len(rows))
		for i, row := range rows {
			docs[i] = map[string]any{"a": row[0], "more": []string{row[1], "<&>"}, "none": []int{}}
		}
		header := []string{"A", "Header"}
		whole := output.View{Tables: []output.Table{{Header: header, Rows: rows}}, Document: docs}
		streamed := output.View{
			Tables:   []output.Table{{Header: header, Rows: rows[:first], More: slices.Values(rows[first:])}},
			Document: items(docs),
		}
		for _, f := range output.Formats() {
			if d := cmp.Diff(render(t, output.Format(f), whole), render(t, output.Format(f), streamed)); d != "" {
				r.Errorf("%s differs:\n%s", f, d)
			}
		}
	})
}

// A late row is wider than all before it: the columns were sized with it, and no
// cell is cut.
func TestTheLastRowSizesTheTable(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"1", "a"}, {"2", ""}, {"1000000", strings.Repeat("long ", 50) + "end"}}
	got := strings.Split(render(t, output.FormatTable, output.View{Tables: []output.Table{{
		Header: []string{"#", "T"}, More: slices.Values(rows),
	}}}), "\n")
	want := []string{
		"      #  T", "-------  " + strings.Repeat("-", 253), "      1  a", "      2", "1000000  " + rows[2][1], "",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

type broken struct{ writes int }

func (b *broken) Write([]byte) (int, error) {
	b.writes++
	return 0, errors.New("nobody reads")
}

// Whoever reads the first lines only, as head does, is not shown the rest.
func TestAStreamEndsWithItsReader(t *testing.T) {
	t.Parallel()
	made := 0
	endless := func(limit int) iter.Seq[[]string] {
		return func(yield func([]string) bool) {
			for made = 0; made < limit && yield([]string{"cell"}); made++ {
			}
		}
	}
	w := &broken{}
	v := output.View{Tables: []output.Table{{Header: []string{"h"}, More: endless(100_000)}}}
	if err := output.Render(w, output.FormatTable, v, 0); err == nil || w.writes != 1 || made > 10_000 {
		t.Errorf("%d rows were made, %d written: %v", made, w.writes, err)
	}
}
