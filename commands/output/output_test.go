package output_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyturn/commands/output"
)

func render(t *testing.T, f output.Format, v output.View) string {
	t.Helper()
	var b bytes.Buffer
	if err := output.Render(&b, f, v, 0); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestATableLooksLikeTheReferencePage(t *testing.T) {
	t.Parallel()
	got := render(t, output.FormatTable, output.View{Before: []string{"pam command [--options]", ""}, Tables: []output.Table{{
		Header: []string{"Command", "Description"},
		Rows: [][]string{
			{"list", "List all mappings"},
			{"add", "Add a user and machine to the mapping"},
			{"remove", "Remove a user and machine from the mapping"},
		},
	}}})
	want := `pam command [--options]

Command    Description
---------  ------------------------------------------
list       List all mappings
add        Add a user and machine to the mapping
remove     Remove a user and machine from the mapping
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestCellsAreNeverCoerced(t *testing.T) {
	t.Parallel()
	got := render(t, output.FormatTable, output.View{Tables: []output.Table{{
		Header: []string{"#", "Version", "Code", "Empty", "  spaced  "},
		Rows: [][]string{
			{"1", "1.10", "007", "", "  two  spaces"},
			{"10", "1e3", "x", "", "tail  "},
		},
	}}})
	want := "" +
		"  #  Version    Code    Empty      spaced\n" +
		"---  ---------  ------  -------  -------------\n" +
		"  1  1.10       007                two  spaces\n" +
		" 10  1e3        x                tail\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, cell := range []string{"1.10", "007", "1e3", "  two  spaces"} {
		if !strings.Contains(got, cell) {
			t.Errorf("%q was changed:\n%s", cell, got)
		}
	}
}

func TestWideCharactersTakeTwoColumns(t *testing.T) {
	t.Parallel()
	got := render(t, output.FormatTable, output.View{Tables: []output.Table{{
		Header: []string{"Title", "UID"}, Rows: [][]string{{"日本語サーバ", "a"}, {"abc", "b"}},
	}}})
	want := "Title         UID\n------------  -----\n日本語サーバ  a\nabc           b\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAnEmptyTableStillHasItsHeader(t *testing.T) {
	t.Parallel()
	got := render(t, output.FormatTable, output.View{Tables: []output.Table{{Header: []string{"A", "B"}}}})
	if got != "A    B\n---  ---\n" {
		t.Errorf("got %q", got)
	}
}

var nasty = []string{
	"\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\rb", "a\nb", "\x00", "\x7f", "\u0085", "\u009b31m",
	"\u202eevil\u202c", "\u2066x\u2069", "\u200e", "\ufeff", "\u2028", "\xff\xfe", "\xc2", "\U000e0041",
}

func TestNothingUnsafeReachesAnyForm(t *testing.T) {
	t.Parallel()
	for _, s := range nasty {
		v := output.View{
			Before: []string{s}, After: []string{s},
			Tables:   []output.Table{{Title: "t" + s, Header: []string{"h" + s}, Rows: [][]string{{s}}}},
			Document: map[string]string{"k" + s: s},
		}
		for _, f := range output.Formats() {
			got := render(t, output.Format(f), v)
			for _, r := range strings.ReplaceAll(got, "\n", "") {
				if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || strings.ContainsRune("\u202e\u202c\u2066\u2069\u200e\ufeff\u2028", r) || r == '\U000e0041' {
					t.Errorf("%s of %q lets %U through: %q", f, s, r, got)
				}
			}
		}
	}
}

func TestJSONMeansTheSameAfterEscaping(t *testing.T) {
	t.Parallel()
	doc := map[string]string{"a": "x\u009by\u202ez\U000e0041<&>", "b": "tab\tline\n"}
	text, err := output.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	back := map[string]string{}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(doc, back); d != "" {
		t.Error(d)
	}
	if !strings.Contains(string(text), "<&>") {
		t.Errorf("HTML was escaped: %s", text)
	}
}

func TestASpreadsheetRunsNoCell(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"=1+1"}, {"+cmd"}, {"-x"}, {"@sum"}, {"\tx"}, {"-5"}, {"plain, with comma"}, {"say \"hi\""}}
	got := render(t, output.FormatCSV, output.View{Tables: []output.Table{{Header: []string{"h"}, Rows: rows}}})
	back, err := csv.NewReader(strings.NewReader(got)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"h"}, {"'=1+1"}, {"'+cmd"}, {"'-x"}, {"'@sum"}, {`'\tx`}, {"-5"}, {"plain, with comma"}, {`say "hi"`}}
	if d := cmp.Diff(want, back); d != "" {
		t.Error(d)
	}
}

func TestFormatsAreReadWithoutCase(t *testing.T) {
	t.Parallel()
	if f, err := output.ParseFormat("JSON"); err != nil || f != output.FormatJSON {
		t.Errorf("JSON: %v, %v", f, err)
	}
	if _, err := output.ParseFormat("pdf"); err == nil {
		t.Error("pdf is no format of ours")
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	f.Add(`LAB\svc_app`)
	f.Fuzz(func(t *testing.T, s string) {
		got := output.Clean(s)
		if got != output.Clean(got) {
			t.Errorf("cleaning twice changes %q", got)
		}
		for _, r := range got {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Errorf("%U is left in %q", r, got)
			}
		}
	})
}

func TestAValueIsShownAloneWithTheSpacesAtItsEnd(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	v := output.View{Before: []string{"  spaced  "}, Value: "  spaced  "}
	if err := output.Render(&b, output.FormatTable, v, 0); err != nil || b.String() != "  spaced  \n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
