package commands

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// docs holds one page a command, as the tree describes it.
const docs = "../docs/commands"

// TestTheCommandPagesAreFresh compares docs/commands with the tree. With UPDATE=1
// the pages are written anew.
func TestTheCommandPagesAreFresh(t *testing.T) {
	t.Parallel()
	pages := map[string]string{}
	index := "# Commands\n\nMade from the program itself (`UPDATE=1 go test ./commands -run Fresh`).\n\n"
	walkLeaves(NewRoot(&Deps{Session: &Session{}}), func(cmd *cobra.Command) {
		name := strings.ReplaceAll(strings.TrimPrefix(cmd.CommandPath(), "keyturn "), " ", "_") + ".md"
		pages[name] = page(t, cmd)
		index += "- [" + cmd.CommandPath() + "](" + name + "): " + cmd.Short + "\n"
	})
	pages["README.md"] = index
	if os.Getenv("UPDATE") != "" {
		writePages(t, pages)
	}
	found, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if _, ok := pages[filepath.Base(path)]; !ok {
			t.Errorf("%s is about no command", path)
		}
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil || string(got) != want {
			t.Errorf("docs/commands/%s is stale (UPDATE=1 go test ./commands -run Fresh): %v", name, err)
		}
	}
}

func writePages(t *testing.T, pages map[string]string) {
	t.Helper()
	if err := os.RemoveAll(docs); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(docs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(docs, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// walkLeaves visits the commands that people use, by their words.
func walkLeaves(cmd *cobra.Command, visit func(*cobra.Command)) {
	subs := slices.Clone(cmd.Commands())
	sortBy(subs, func(c *cobra.Command) string { return c.Name() })
	for _, sub := range subs {
		switch {
		case sub.Hidden:
		case sub.HasSubCommands():
			walkLeaves(sub, visit)
		default:
			visit(sub)
		}
	}
}

func page(t *testing.T, cmd *cobra.Command) string {
	t.Helper()
	cmd.InitDefaultHelpFlag()
	var help bytes.Buffer
	cmd.SetOut(&help)
	if err := cmd.Help(); err != nil {
		t.Fatal(err)
	}
	return "# " + cmd.CommandPath() + "\n\n" + strings.TrimSuffix(cmd.Short, ".") + ".\n\n```\n" + strings.TrimSpace(help.String()) + "\n```\n"
}
