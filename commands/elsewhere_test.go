package commands

import (
	"os"
	"strings"
	"testing"
)

const commanderPage = "../docs/commander.md"

const commanderHead = `# Words of Commander that Keyturn does not have

Keyturn speaks Keeper Commander's words: what is not below works as there, or is in
[commands](commands/README.md). Each of these words is refused with exit code 2 and
the reason. Made from the program itself (` + "`UPDATE=1 go test ./commands -run Fresh`" + `).

| Commander | Keyturn |
|---|---|
`

func TestTheCommanderPageIsFresh(t *testing.T) {
	t.Parallel()
	want := commanderHead
	for _, f := range foreignWords() {
		var words []string
		for w := range strings.FieldsSeq(f.words) {
			words = append(words, "`"+w+"`")
		}
		name := strings.Join(words, " ")
		if f.of != "" {
			name = "`" + strings.ReplaceAll(f.of, ", ", "`, `") + "`: " + name
		}
		want += "| " + name + " | " + f.why + " |\n"
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(commanderPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(commanderPage); err != nil || string(got) != want {
		t.Errorf("docs/commander.md is stale (UPDATE=1 go test ./commands -run Fresh): %v", err)
	}
}

// What the tree has must not be refused, and what is refused is asked for where it was.
func TestForeignWordsAreNotInTheTree(t *testing.T) {
	t.Parallel()
	root := NewRoot(&Deps{Session: &Session{}})
	for _, f := range foreignWords() {
		for of := range strings.SplitSeq(f.of, ", ") {
			cmd, rest := descend(root, strings.Fields(of))
			if rest != len(strings.Fields(of)) {
				t.Fatalf("%s is no command", of)
			}
			for w := range strings.FieldsSeq(f.words) {
				name, long := strings.CutPrefix(w, "--")
				_, short := shortFlags(cmd)[w]
				letter := strings.TrimPrefix(w, "-")
				switch {
				case long && cmd.Flag(name) != nil, short, len(w) == 2 && w[0] == '-' && cmd.Flags().ShorthandLookup(letter) != nil:
					t.Errorf("%s has the flag %s", of, w)
				case w[0] != '-' && child(cmd, w) != nil:
					t.Errorf("%q has the command %s", of, w)
				}
			}
		}
	}
}

func TestForeignWordsAreRefusedWithTheirReason(t *testing.T) {
	t.Parallel()
	for line, reason := range map[string]string{
		"ln a b":                             "a record is in one folder",
		"ENTERPRISE-user x":                  noCloud,
		"da Wiki":                            noAttachments,
		"--config c.json ls":                 "keyturn --vault DIR",
		"ls --config-file c.json":            "keyturn --vault DIR",
		"pam tunnel start":                   noSessions,
		"pam action saas":                    noClouds,
		"mv a b -s":                          noSharing,
		"export --max-size 3 x.json":         noAttachments,
		"pam rotation edit -r x -sc '0 0 4'": noSchedule,
		"pam config edit x -sc '0 0 4'":      noSchedule,
	} {
		d, _, stderr := bare(t)
		if code := Run(t.Context(), d, strings.Fields(line)); code != 2 || !strings.Contains(stderr.String(), "hint: "+reason) {
			t.Errorf("%s: exit code %d\n%s", line, code, stderr)
		}
	}
}
