package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The README holds the demo's transcript between these lines.
const (
	readme          = "../../README.md"
	transcriptBegin = "<!-- printed by `make demo`: begin -->\n```console\n"
	transcriptEnd   = "```\n<!-- printed by `make demo`: end -->\n"
)

// TestTheREADMEShowsWhatTheDemoPrints runs the demo with programs built from
// this checkout. With UPDATE=1 its output becomes the README's.
func TestTheREADMEShowsWhatTheDemoPrints(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the demo is a script for sh")
	}
	printed := demo(t)
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), transcriptBegin)
	shown, after, whole := strings.Cut(rest, transcriptEnd)
	if !ok || !whole {
		t.Fatal("the README has no transcript")
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(readme, []byte(before+transcriptBegin+printed+transcriptEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, got := withoutChance(shown), withoutChance(printed)
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("the demo no longer prints what the README shows (UPDATE=1 rewrites it); from line %d it prints\n%s\nand not\n%s",
				i+1, strings.Join(got[min(i, len(got)):min(i+5, len(got))], "\n"), strings.Join(want[min(i, len(want)):min(i+5, len(want))], "\n"))
		}
	}
}

// shownFolder stands in the README for the folder of the run it shows.
const shownFolder = "/home/you/keyturn/.demo"

func demo(t *testing.T) string {
	t.Helper()
	bin, dir := t.TempDir(), filepath.Join(t.TempDir(), "demo")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../keyturn", ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), "../../testdata/demo.sh", bin, dir)
	run.Env = append(os.Environ(), "KEYTURN_PWSH=")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("the demo ended with %v\n%s", err, out)
	}
	return strings.TrimLeft(strings.ReplaceAll(string(out), dir, shownFolder), "\n")
}

// What differs between two runs, beside their order of parallel work.
var changing = regexp.MustCompile(`[A-Za-z0-9][A-Za-z0-9_-]{21}\b|127\.0\.0\.1:\d+|sha256:[0-9a-f]{64}|\d+:\d\d:\d\d\.\d{6}`)

// withoutChance is a transcript without what differs from run to run: ids,
// addresses, times, column widths and the order in which machines come to an
// end. Phases that ended between two looks at the job are not told of.
func withoutChance(transcript string) []string {
	var lines, steps []string
	for line := range strings.Lines(transcript) {
		line = changing.ReplaceAllString(strings.TrimRight(line, "\n"), "*")
		line = strings.Join(strings.Fields(line), " ")
		if strings.Trim(line, "- ") == "" && line != "" {
			line = "---"
		}
		switch {
		case strings.HasPrefix(line, `LAB\svc_app: `):
		case regexp.MustCompile(`^[A-Z0-9]+: `).MatchString(line):
			steps = append(steps, line)
		default:
			slices.Sort(steps)
			lines = append(append(lines, steps...), line)
			steps = nil
		}
	}
	return append(lines, steps...)
}
