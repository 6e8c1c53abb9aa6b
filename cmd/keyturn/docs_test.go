package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"keyturn/commands"
	"keyturn/pkg/powershell"
)

// Pages of docs/ that tell what the program prints are held to it: what is a
// list of the program's own is written by UPDATE=1, the rest must name it all.

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// generated holds the part of a page between its marks to text.
func generated(t *testing.T, name, mark, text string) {
	t.Helper()
	whole := page(t, name)
	begin, end := "<!-- "+mark+": begin -->\n", "<!-- "+mark+": end -->"
	head, rest, ok := strings.Cut(whole, begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("docs/%s lacks the marks of %q", name, mark)
	}
	if old == text {
		return
	}
	if os.Getenv("UPDATE") != "1" {
		t.Fatalf("the %s of docs/%s are not those of the program: UPDATE=1 go test ./cmd/keyturn -run %s", mark, name, t.Name())
	}
	if err := os.WriteFile(filepath.Join("..", "..", "docs", name), []byte(head+begin+text+end+tail), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWindowsPageHasEveryClass(t *testing.T) {
	var b strings.Builder
	b.WriteString("| class | kind | what happened, and what to do |\n|---|---|---|\n")
	for _, c := range powershell.Classes() {
		kind := "none"
		if k := powershell.KindOf(c); k != "" {
			kind = fmt.Sprintf("`%s` (exit %d)", k, k.Code())
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c, kind, powershell.Explain(c))
	}
	generated(t, "windows.md", "classes", b.String())
}

// constants are the string constants of a package whose names match.
func constants(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !regexp.MustCompile(pattern).MatchString(spec.Names[0].Name) {
				return true
			}
			for _, v := range spec.Values {
				if l, ok := v.(*ast.BasicLit); ok && l.Kind == token.STRING {
					s, err := strconv.Unquote(l.Value)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, s)
				}
			}
			return true
		})
	}
	if len(values) == 0 {
		t.Fatalf("%s has no constants %s", dir, pattern)
	}
	return values
}

// scriptReasons are the reasons that the shipped script gives by itself.
func scriptReasons() []string {
	var values []string
	for _, m := range regexp.MustCompile(`reason = '([a-z_]+)'`).FindAllSubmatch(powershell.Script(), -1) {
		values = append(values, string(m[1]))
	}
	return values
}

func TestWindowsPageHasEveryOutcome(t *testing.T) {
	text := page(t, "windows.md")
	all := map[string][]string{
		"a class":            constants(t, "pkg/powershell", `^Class[A-Z]`),
		"a reason":           constants(t, "pkg/dependency", `^Reason[A-Z]`),
		"a job's reason":     constants(t, "pkg/job", `^reason[A-Z]`),
		"a script's reason":  scriptReasons(),
		"a status":           constants(t, "pkg/pam", `^Status[A-Z]`),
		"an action":          constants(t, "pkg/pam", `^Action[A-Z]`),
		"a phase":            constants(t, "pkg/pam", `^Phase[A-Z]`),
		"the state of a job": constants(t, "pkg/pam", `^Job[A-Z]`),
	}
	for what, values := range all {
		if len(values) == 0 {
			t.Errorf("found not one %s", what)
		}
		for _, v := range values {
			if !strings.Contains(text, "`"+v+"`") {
				t.Errorf("docs/windows.md does not tell of %s, `%s`", what, v)
			}
		}
	}
}

func TestExitCodesPageIsFresh(t *testing.T) {
	var b strings.Builder
	b.WriteString("| code | kinds | means |\n|---|---|---|\n")
	for _, c := range commands.ExitCodes() {
		kinds := make([]string, 0, len(c.Kinds))
		for _, k := range c.Kinds {
			kinds = append(kinds, "`"+string(k)+"`")
		}
		fmt.Fprintf(&b, "| %d | %s | %s |\n", c.Code, strings.Join(kinds, ", "), c.Meaning)
	}
	generated(t, "exit-codes.md", "codes", b.String())
	text := page(t, "exit-codes.md")
	for _, kind := range constants(t, "pkg/pam", `^Err[A-Z]`) {
		if !strings.Contains(text, "\n| `"+kind+"` | ") {
			t.Errorf("docs/exit-codes.md does not explain the kind %s", kind)
		}
	}
}

// A control that a page puts into a file is in that file's place; the page says
// of each whether it exists.
func TestPagesNameFilesThatExist(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"threat-model.md", "windows.md"} {
		found := 0
		for _, m := range regexp.MustCompile("`((?:cmd|commands|pkg|vault|testdata)/[\\w./-]+)`").FindAllStringSubmatch(page(t, name), -1) {
			found++
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("docs/%s names %s: %v", name, m[1], err)
			}
		}
		if found == 0 {
			t.Errorf("docs/%s names no file", name)
		}
	}
	for line := range strings.Lines(page(t, "threat-model.md")) {
		cells := strings.Split(line, " | ")
		if len(cells) == 3 && !strings.HasPrefix(line, "| threat ") && !regexp.MustCompile(`\*\*(?:yes|partly|not yet)\*\*|^no SQL target`).MatchString(cells[2]) {
			t.Errorf("docs/threat-model.md does not say whether this exists: %s", line)
		}
	}
}
