package commands_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keyturn/commands"
	"keyturn/pkg/pam"
)

func TestALineIsSplitAsItsWriterMeantIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, line string
		want       []string
	}{
		{"a backslash is a character", `login=CORP\svc_sql C:\dir\ "D:\x y\"`, []string{`login=CORP\svc_sql`, `C:\dir\`, `D:\x y\`}},
		{"inner double spaces are kept", `-n "two  spaces" 'three   of them'`, []string{"-n", "two  spaces", "three   of them"}},
		{"a quote begins inside a word", `title="My Server" x`, []string{"title=My Server", "x"}},
		{"one kind of quote protects the other", `"O'Brien" 'say "hi"'`, []string{"O'Brien", `say "hi"`}},
		{"a doubled quote is one quote", `"say ""hi"""`, []string{`say "hi"`}},
		{"an empty word is a word", `-x '' ""`, []string{"-x", "", ""}},
		{"white space around is nothing", "\t ls   -l \t", []string{"ls", "-l"}},
		{"nothing is no word", "  ", []string{}},
		{"a dollar and a hash are characters", `password=$GEN #x`, []string{"password=$GEN", "#x"}},
		{"what follows a lonely hash is a comment", `ls -l # it's "here`, []string{"ls", "-l"}},
		{
			"the signs of other shells are characters of a word", `password=a|b x>y a;b >z |` + `| "|" '>' "#" &`,
			[]string{"password=a|b", "x>y", "a;b", ">z", "||", "|", ">", "#", "&"},
		},
		{"other scripts are characters", `get "日本 語"`, []string{"get", "日本 語"}},
	} {
		got, err := commands.Split(c.line)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestALineThatCannotBeSplitIsAUsageError(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`get "open`, `get 'open`, "get \x00", "get\r", "a\nb", "\x1b[A"} {
		if words, err := commands.Split(line); pam.KindOf(err) != pam.ErrUsage || err == nil {
			t.Errorf("Split(%q) = %q, %v", line, words, err)
		}
	}
}

func TestASignOfAnotherShellIsExplained(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"ls | grep x", "ls > out", "ls >> out", "ls && tree", "mkdir A ; mkdir B"} {
		words, err := commands.Split(line)
		if pam.KindOf(err) != pam.ErrUsage || err == nil || !strings.Contains(pam.HintOf(err), "--output") {
			t.Errorf("Split(%q) = %q, %v", line, words, err)
		}
	}
}

func TestALineGoesOnAfterALonelyBackslash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, head string
		goesOn     bool
	}{
		{`record-add -t x \`, "record-add -t x ", true},
		{"ls \\ \r", "ls ", true},
		{`\`, "", true},
		{`ls C:\`, `ls C:\`, false},
		{`# and so on \`, `# and so on \`, false},
		{"ls", "ls", false},
	} {
		if head, goesOn := commands.Continued(c.line); head != c.head || goesOn != c.goesOn {
			t.Errorf("Continued(%q) = %q, %t", c.line, head, goesOn)
		}
	}
}

func TestWordsKnowWhereTheyAre(t *testing.T) {
	t.Parallel()
	want := []commands.Word{
		{Text: "get", Start: 0, End: 3},
		{Text: "My Serv", Start: 4, End: 12, Open: '"'},
	}
	if d := cmp.Diff(want, commands.Words(`get "My Serv`)); d != "" {
		t.Error(d)
	}
}

func TestAQuotedWordIsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.String().Filter(func(s string) bool {
			return !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) })
		})).Draw(t, "words")
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = commands.Quote(w)
		}
		got, err := commands.Split(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(got, words) {
			t.Fatalf("%q was read back as %q, %v", words, got, err)
		}
	})
}

func TestABatchLineSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line    string
		words   []string
		mayFail bool
	}{
		{"", nil, false},
		{"   # a comment", nil, false},
		{"@ls -l", []string{"ls", "-l"}, true},
		{" @ ls", []string{"ls"}, true},
		{"keyturn get x  # as hints and the README write it", []string{"get", "x"}, false},
		{"get #1", []string{"get", "#1"}, false},
	} {
		words, mayFail, err := commands.SplitLine(c.line)
		if err != nil || mayFail != c.mayFail || !slices.Equal(words, c.words) {
			t.Errorf("SplitLine(%q) = %q, %t, %v", c.line, words, mayFail, err)
		}
	}
	if _, _, err := commands.SplitLine("@"); err == nil {
		t.Error("@ alone is no command")
	}
}

func FuzzSplit(f *testing.F) {
	for _, line := range []string{``, `a b`, `"a  b" 'c'`, `LAB\svc`, `"`, `x="y z"`, "\x00", `""""`, `'a''b'`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		end := 0
		for _, w := range commands.Words(line) {
			if w.Start < end || w.End <= w.Start || w.End > len(line) {
				t.Fatalf("word %+v of %q is nowhere", w, line)
			}
			end = w.End
		}
		words, err := commands.Split(line)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = commands.Quote(w)
		}
		again, err := commands.Split(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(words, again) {
			t.Fatalf("%q: %q became %q, %v", line, words, again, err)
		}
	})
}
