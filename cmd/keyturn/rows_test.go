package main

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rowsWithoutTest are rows of the acceptance list that no test here tells, and
// why. A row that gets one leaves this list.
func rowsWithoutTest() map[string]string {
	return map[string]string{}
}

// A test tells a row when its name begins with the row's id: a function
// TestT04..., a name in a table or in t.Run, "K01 K02 tasks are ...", or a comment
// in a story, "# T04 ...".
var (
	rowIDs   = regexp.MustCompile(`^(?:[A-Z]\d\d )+`)
	rowFunc  = regexp.MustCompile(`^Test((?:[A-Z]\d\d)+)[A-Z]`)
	rowStory = regexp.MustCompile(`(?m)^# ([A-Z]\d\d)[ :]`)
)

func TestEveryRowOfTheAcceptanceListHasATest(t *testing.T) {
	t.Parallel()
	rows := acceptanceRows(t)
	told := map[string]bool{}
	for _, dir := range []string{"../../cmd", "../../commands", "../../pkg", "../../vault", "../../testdata"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil || e.IsDir():
				return err
			case strings.HasSuffix(path, "_test.go"):
				return rowsOfTests(path, told)
			case strings.HasSuffix(path, ".txtar"):
				text, err := os.ReadFile(path)
				for _, m := range rowStory.FindAllSubmatch(text, -1) {
					told[string(m[1])] = true
				}
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	why := rowsWithoutTest()
	for id, title := range rows {
		switch {
		case !told[id] && why[id] == "":
			t.Errorf("no test tells row %s (%s)", id, title)
		case told[id] && why[id] != "":
			t.Errorf("row %s (%s) has a test: take it out of rowsWithoutTest", id, title)
		}
	}
	for id := range told {
		if rows[id] == "" {
			t.Errorf("a test tells row %s, which is not on the list", id)
		}
	}
	for id := range why {
		if rows[id] == "" {
			t.Errorf("rowsWithoutTest names row %s, which is not on the list", id)
		}
	}
}

// acceptanceRows are the titles of the rows by id.
func acceptanceRows(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("../../testdata/rows.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	rows := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if id, title, ok := strings.Cut(lines.Text(), " "); ok && id != "#" {
			rows[id] = title
		}
	}
	if len(rows) < 140 {
		t.Fatalf("%d rows", len(rows))
	}
	return rows
}

// rowsOfTests notes the rows that a file of tests names.
func rowsOfTests(path string, told map[string]bool) error {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if m := rowFunc.FindStringSubmatch(n.Name.Name); m != nil {
				for ids := range slices.Chunk([]byte(m[1]), len("S01")) {
					told[string(ids)] = true
				}
			}
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if n.Kind == token.STRING && err == nil {
				for id := range strings.FieldsSeq(rowIDs.FindString(text)) {
					told[id] = true
				}
			}
		}
		return true
	})
	return nil
}

func TestRowsAreFoundByTheirNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"K01 K02 tasks are registered again": {"K01", "K02"}, "S13 one that stops too late": {"S13"},
		"the row S13 elsewhere": nil, "S13bLate": nil, "S1 x": nil, "T04": nil,
	} {
		if got := strings.Fields(rowIDs.FindString(text)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
