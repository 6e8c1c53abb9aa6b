package commands

import (
	"bytes"
	"strings"
	"testing"

	"keyturn/commands/output"
)

func TestAnImportShowsItsProgressToAPersonOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what     string
		terminal bool
		format   output.Format
		ci       string
		total    int
		shown    bool
	}{
		{"many records at a terminal are shown", true, output.FormatTable, "", longImport, true},
		{"few are done before it is seen", true, output.FormatTable, "", longImport - 1, false},
		{"a pipe keeps what was written", false, output.FormatTable, "", longImport, false},
		{"JSON is for programs", true, output.FormatJSON, "", longImport, false},
		{"CI has a terminal that nobody looks at", true, output.FormatTable, "true", longImport, false},
	} {
		d, _, stderr := bare(t)
		d.ErrIsTerminal = func() bool { return c.terminal }
		d.Getenv = func(name string) string { return map[string]string{"CI": c.ci}[name] }
		set, end := (&call{Deps: d, format: c.format}).progress("importing", c.total)
		if set != nil {
			set(1)
		}
		end()
		if shown := strings.Contains(stderr.String(), "importing"); shown != c.shown || (set != nil) != c.shown {
			t.Errorf("%s: printed %q", c.what, stderr.String())
		}
	}
}

func TestADepsWithoutATerminalShowsNone(t *testing.T) {
	t.Parallel()
	d := &Deps{Err: &bytes.Buffer{}}
	if set, end := (&call{Deps: d}).progress("importing", longImport); set != nil {
		end()
		t.Error("there is a bar")
	}
}
