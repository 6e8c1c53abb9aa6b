package main

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rowsWithoutCLI are rows of the acceptance list that no test plays through the
// command line, and why. A row that gets one leaves this list.
func rowsWithoutCLI() map[string]string {
	return map[string]string{
		"S15": "no command has a service's process ended: only the engine's own policy could, and the shipped one does not",
		"S16": "as S15",
		"T08": "the client's operation timeout would be waited out five times",
		"T10": "the lab's machines do not lie: pkg/job has some that do",
		"T14": "as T10",
		"T15": "as T10",
		"F06": "who dies at that moment is a process: make crash sweeps all moments, and pkg/job plays this one",
	}
}

// playedIn is how the tests of a folder play rows: through the command line, as a
// job of the engine, or at the machine, the account or the way there alone.
func playedIn(path string) string {
	switch slash := filepath.ToSlash(path); {
	case strings.Contains(slash, "/cmd/"), strings.Contains(slash, "/testdata/"):
		return "cli"
	case strings.Contains(slash, "/pkg/job/"):
		return "job"
	}
	return "host"
}

// A row of the list: how its tests play it, in that order, and its title.
type listedRow struct {
	played string
	title  string
}

// A test tells a row when its name begins with the row's id: a function
// TestT04..., a name in a table or in t.Run, "K01 K02 tasks are ...", or a comment
// in a story, "# T04 ...".
var (
	rowID    = regexp.MustCompile(`[A-Z]\d\d`)
	rowIDs   = regexp.MustCompile(`^(?:[A-Z]\d\d )+`)
	rowFunc  = regexp.MustCompile(`^Test((?:[A-Z]\d\d)+)[A-Z]`)
	rowStory = regexp.MustCompile(`(?m)^# ((?:[A-Z]\d\d(?: and |, | |:))+)`)
)

func TestEveryRowOfTheAcceptanceListHasATest(t *testing.T) {
	t.Parallel()
	rows := acceptanceRows(t)
	told := map[string]map[string]bool{}
	for _, dir := range []string{"../../cmd", "../../commands", "../../pkg", "../../vault", "../../testdata"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || e.Name() == "rows_test.go" && playedIn(path) == "cli" {
				return err
			}
			ids, err := rowsOfFile(path)
			for _, id := range ids {
				if told[id] == nil {
					told[id] = map[string]bool{}
				}
				told[id][playedIn(path)] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for id, row := range rows {
		played := strings.Join(slices.DeleteFunc([]string{"cli", "job", "host"}, func(how string) bool { return !told[id][how] }), ",")
		switch why := rowsWithoutCLI()[id]; {
		case played == "":
			t.Errorf("no test tells row %s (%s)", id, row.title)
		case played != row.played:
			t.Errorf("row %s is played %s: testdata/rows.txt says %s", id, played, row.played)
		case told[id]["cli"] != (why == ""):
			t.Errorf("row %s (%s) is played %s, and rowsWithoutCLI says of it %q", id, row.title, played, why)
		}
	}
	for _, id := range slices.Concat(slices.Collect(maps.Keys(told)), slices.Collect(maps.Keys(rowsWithoutCLI()))) {
		if _, ok := rows[id]; !ok {
			t.Errorf("row %s is not on the list", id)
		}
	}
}

// rowsOfFile are the rows that a file of tests, or a story, tells.
func rowsOfFile(path string) (ids []string, err error) {
	switch {
	case strings.HasSuffix(path, "_test.go"):
		return rowsOfTests(path)
	case strings.HasSuffix(path, ".txtar"):
		text, err := os.ReadFile(path)
		for _, m := range rowStory.FindAllSubmatch(text, -1) {
			ids = append(ids, rowID.FindAllString(string(m[1]), -1)...)
		}
		return ids, err
	}
	return nil, nil
}

// acceptanceRows are the rows of the list by id.
func acceptanceRows(t *testing.T) map[string]listedRow {
	t.Helper()
	f, err := os.Open("../../testdata/rows.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	rows := map[string]listedRow{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		id, rest, _ := strings.Cut(lines.Text(), " ")
		if played, title, ok := strings.Cut(rest, " "); ok && id != "#" {
			rows[id] = listedRow{played, title}
		}
	}
	if len(rows) < 140 {
		t.Fatalf("%d rows", len(rows))
	}
	return rows
}

// rowsOfTests are the rows that a file of tests names.
func rowsOfTests(path string) (ids []string, err error) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if m := rowFunc.FindStringSubmatch(n.Name.Name); m != nil {
				ids = append(ids, rowID.FindAllString(m[1], -1)...)
			}
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if n.Kind == token.STRING && err == nil {
				ids = append(ids, strings.Fields(rowIDs.FindString(text))...)
			}
		}
		return true
	})
	return ids, nil
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
