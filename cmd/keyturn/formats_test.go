//go:build linux || darwin

package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"keyturn/commands"
)

// notInForms are commands of which a test in forms would be of another thing: what
// changes how the vault opens, and what needs somebody at a terminal.
var notInForms = []string{"init", "passwd", "rekey", "login", "logout", "shell", "cd", "set", "echo", "clear", "history"}

// exampleLines are the examples of all commands' help, each with its words, without
// those that ask for a form themselves or are for a shell.
func exampleLines(t *testing.T) [][]string {
	t.Helper()
	var lines [][]string
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		if cmd.Hidden || cmd.HasSubCommands() || slices.Contains(notInForms, cmd.Name()) {
			return
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(cmd.Example, "\\\n", ""), "\n") {
			if line = strings.TrimSpace(line); strings.Contains(line, "--format") || strings.Contains(line, "--output") ||
				strings.ContainsAny(line, "<>&|") {
				continue
			}
			words, _, err := commands.SplitLine(line)
			if err != nil || !strings.HasPrefix(line, programName+" ") {
				t.Fatalf("%q: %v", line, err)
			}
			lines = append(lines, words)
		}
	}
	visit(commands.NewRoot(&commands.Deps{Session: &commands.Session{}}))
	return lines
}

// jsonOf and csvOf say what is wrong with a result: JSON is one document, CSV one header
// with rows as long.
func jsonOf(result []byte) string {
	if !json.Valid(result) {
		return "standard output is no JSON document"
	}
	return ""
}

func csvOf(result []byte) string {
	rows, err := csv.NewReader(bytes.NewReader(result)).ReadAll()
	switch {
	case err != nil:
		return err.Error() // also that a row has another length
	case len(rows) == 0:
		return "there is no header"
	case slices.ContainsFunc(rows[1:], func(row []string) bool { return slices.Equal(row, rows[0]) && len(row) > 1 }):
		return "there are two headers"
	}
	return ""
}

// Whatever a command does, a script reads its result: nothing but JSON, or nothing but
// CSV, is on standard output, and what failed in JSON is a document on standard error.
func TestEveryCommandSpeaksInForms(t *testing.T) {
	t.Parallel()
	lines := exampleLines(t)
	for form, wrong := range map[string]func([]byte) string{"json": jsonOf, "csv": csvOf} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			dir := wideHome(t)
			batch(t, dir, `record-add -rt pamUser -t svc_app login=LAB\svc_app`, "record-add -rt pamUser -t old_svc login=old",
				"mkdir Prod", "mkdir Prod/DB", "mkdir Prod/old-x", "mkdir Archive", "export --force export.json",
				"pam rotation edit -r svc_app -rs DC01 -od --enable --force")
			succeeded := 0
			for _, words := range lines {
				var stdout, stderr bytes.Buffer
				c := exec.CommandContext(t.Context(), programName, append(slices.Clone(words), "--format", form)...)
				c.Dir, c.Env, c.Stdout, c.Stderr = dir, environment(dir), &stdout, &stderr
				failed := c.Run() != nil
				if !failed {
					succeeded++
				}
				refused := failed && stdout.Len() == 0
				if complaint := wrong(stdout.Bytes()); complaint != "" && !refused {
					t.Errorf("%q: %s: %q", words, complaint, stdout.String())
				}
				if failed && form == "json" && !json.Valid(stderr.Bytes()) {
					t.Errorf("%q fails, and standard error is no JSON document: %q", words, stderr.String())
				}
			}
			if succeeded < len(lines)/2 {
				t.Errorf("only %d of %d examples succeed", succeeded, len(lines))
			}
		})
	}
}
