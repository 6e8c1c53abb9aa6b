package shell

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	prompt "github.com/c-bata/go-prompt"
)

// fakeTTY types what it is told, piece by piece.
type fakeTTY struct {
	pieces [][]byte
	end    bool
	raws   int
	wide   int // columns; 0 is too few
	out    strings.Builder
}

func (f *fakeTTY) raw() (func() error, error) {
	f.raws++
	return func() error { f.raws--; return nil }, nil
}

func (f *fakeTTY) read(buf []byte) (int, error) {
	if len(f.pieces) == 0 {
		if f.end {
			return 0, errors.New("gone")
		}
		return 0, nil
	}
	n := copy(buf, f.pieces[0])
	f.pieces = f.pieces[1:]
	return n, nil
}

func (f *fakeTTY) size() (columns, rows int) { return max(3, f.wide), 1 }
func (f *fakeTTY) write(s string)            { f.out.WriteString(s) }

// keys reads everything that is typed, taking a new line after each handed over.
func keys(t *testing.T, pieces ...string) []string {
	t.Helper()
	tty := &fakeTTY{}
	for _, p := range pieces {
		tty.pieces = append(tty.pieces, []byte(p))
	}
	c := &console{tty: tty}
	var got []string
	for range 100 {
		if c.held.Load() || c.restore == nil {
			if err := c.Setup(); err != nil {
				t.Fatal(err)
			}
		}
		if key, err := c.Read(); err == nil {
			got = append(got, string(key))
		}
	}
	return got
}

func TestWhatIsTypedBecomesKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		pieces []string
		want   []string
	}{
		{"letters come as they are typed", []string{"ls", "\r"}, []string{"ls", "\r"}},
		{"a line typed ahead waits its turn", []string{"a\rb\r"}, []string{"a", "\r", "b", "\r"}},
		{"a pasted line never runs by itself", []string{"\x1b[200~rm A\n\x1b[201~"}, []string{"rm A"}},
		{
			"of pasted lines each waits for its Enter",
			[]string{"\x1b[200~rm A\nrm B\r\nrm C\n\x1b[201~", "\r", "\n", "\r", "\r"},
			[]string{"rm A", "\r", "rm B", "\n", "rm C", "\r", "\r"},
		},
		{
			"a paste among pasted lines comes before what is left of them",
			[]string{"\x1b[200~a\rd\x1b[201~", "\x1b[200~b\rc\x1b[201~", "\r\r\r"},
			[]string{"a", "b", "\r", "c", "\r", "d", "\r"},
		},
		{"Ctrl-C drops pasted lines", []string{"\x1b[200~a\rb\rc\x1b[201~", "\r", "\x03", "\r"}, []string{"a", "\r", "b", "\x03", "\r"}},
		{"comments and blank lines are not pasted", []string{"\x1b[200~# it's\n\na\n  # b\nc\x1b[201~\r"}, []string{"a", "\r", "c"}},
		{"a pasted line goes on after a backslash", []string{"\x1b[200~a \\\n  b \\\n# c\nd \\\n\x1b[201~\r"}, []string{"a   b # c", "\r", "d \\"}},
		{"a pasted comment is kept where it is all there is", []string{"\x1b[200~#1\x1b[201~"}, []string{"#1"}},
		{"a paste in pieces is still one", []string{"\x1b[200~one\r", "two\x1b[201~x\r"}, []string{"one", "x", "\r", "two"}},
		{"a paste loses its control characters", []string{"\x1b[200~a\x1b]0;t\x07b\x1b[201~"}, []string{"a]0;tb"}},
		{"an arrow is one key", []string{"\x1b[A"}, []string{"\x1b[A"}},
		{"a letter with Alt is one key", []string{"\x1bb", "\x1b[1;3Cx\x1b\x7f"}, []string{"\x1bb", "\x1b[1;3C", "x", "\x1b\x7f"}},
		{"a letter with Alt that does nothing types nothing", []string{"\x1bqx"}, []string{"x"}},
		{"an unknown sequence is swallowed whole", []string{"\x1b[99;99Hx"}, []string{"x"}},
		{"a letter cut in two arrives whole", []string{"\xc3", "\xa9"}, []string{"é"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := keys(t, c.pieces...); strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheConsoleCanBeWokenAndTellsTheEnd(t *testing.T) {
	t.Parallel()
	tty := &fakeTTY{}
	c := &console{tty: tty}
	if err := c.Setup(); err != nil {
		t.Fatal(err)
	}
	c.pasted = []string{"next"}
	c.lastKey.Store('\r')
	c.wake.Store(true)
	if key, err := c.Read(); err != nil || prompt.GetKey(key) != prompt.F24 || !c.woken.Load() {
		t.Errorf("got %q, %v", key, err)
	}
	if err := errors.Join(c.TearDown(), c.Setup()); err != nil || c.woken.Load() || len(c.pasted) != 1 {
		t.Errorf("a new line is woken already: %v", err)
	}
	tty.end = true
	_, _ = c.Read()
	if _, err := c.Read(); err != nil || !c.ended.Load() {
		t.Error("the end of the terminal went unnoticed")
	}
	if w := c.GetWinSize(); w.Col < 20 || w.Row < 5 {
		t.Errorf("a window of %d x %d crashes the prompt", w.Col, w.Row)
	}
	if err := c.TearDown(); err != nil || tty.raws != 0 || !strings.HasSuffix(tty.out.String(), pasteOff) {
		t.Error("the terminal was not given back")
	}
}

// The terminal wraps what was drawn anew when its width changes; the prompt is drawn
// again from where its first row is then.
func TestTheLineIsDrawnAnewWhenTheWindowChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		before, now int
		want        string
	}{
		{"narrower: it has more rows", 120, 40, "\x1b[2A"},
		{"wider: it has fewer", 40, 120, "\n\n"},
		{"as many", 100, 110, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tty := &fakeTTY{wide: c.before}
			con := &console{tty: tty}
			if err := con.Setup(); err != nil {
				t.Fatal(err)
			}
			con.cursor.Store(90)
			tty.wide = c.now
			_, first := con.Read()
			key, err := con.Read()
			if first == nil || err != nil || prompt.GetKey(key) != prompt.F24 {
				t.Fatalf("it was not drawn anew: %q, %v", key, err)
			}
			if got := strings.TrimPrefix(tty.out.String(), pasteOn); got != c.want {
				t.Errorf("the cursor went %q, want %q", got, c.want)
			}
		})
	}
}

func TestATextTakesRows(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 1, "0123456789": 1, "0123456789a": 2, "日本語日本": 1, "0日本語日本": 2, "012345678日": 2} {
		if got := rowsOf(text, 10); got != want {
			t.Errorf("%q takes %d rows, want %d", text, got, want)
		}
	}
}

func FuzzKeys(f *testing.F) {
	for _, s := range []string{"ls\r", "\x1b[200~x\x1b[201~", "\x1b[A\x1b", "\xff\x1b[", "é\x00"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, typed []byte, cut int) {
		if cut < 0 || cut > len(typed) {
			cut = 0
		}
		for _, k := range keys(t, string(typed[:cut]), string(typed[cut:])) {
			if k == "" || (strings.ContainsAny(k, "\r\n") && len(k) > 1 && utf8.ValidString(k)) {
				t.Errorf("key %q", k)
			}
		}
	})
}

func TestTheHistoryKeepsNoSecrets(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "sub", "history")
	h := openHistory(name)
	for _, line := range []string{
		"ls -l", "ls -l", "record-add -t x password=hunter2", "ru x 'c.secret.apiKey=hunter2'", "ru x PrivateKey=hunter2", "get x",
		// Mistyped, or hidden by quotes.
		"record-update -r a password = hunter2", "ru a password =hunter2", "ru a password= hunter2", `ru a passw''ord=hunter2`, `ru a "pass"word=hunter2`,
		"ru x 'c.secret.api key=hunter2'", "ru x 'password=hunter2", "passwd hunter2", "PASSWD hunter2", "login hunter2", "unlock hunter2", "rekey hunter2",
		"key add --new-password hunter2", "key add --new-password=hunter2", "key add hunter2", "init --password hunter2", "set A hunter2", "  set A hunter2",
		"keyturn passwd hunter2", "@passwd hunter2", "@ keyturn set A hunter2", "ls # password=hunter2", "# passwd hunter2", "hunter2", "correct horse", "get " + strings.Repeat("x", 1<<17),
	} {
		h.add(line)
	}
	kept := []string{
		"passwd", "login", "key list", "key add --recovery", "record-add -t login -t x c.text.pin=1", "find-password login", "# ls", "keyturn passwd",
		"import --keepass-password-file pw a.kdbx", "help passwd",
	}
	for _, line := range kept {
		h.add(line)
	}
	data, err := os.ReadFile(name)
	if want := "ls -l\nget x\n" + strings.Join(kept, "\n") + "\n"; err != nil || string(data) != want {
		t.Errorf("history %q, %v", data, err)
	}
	info, err := os.Stat(name)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again := openHistory(name).lines(); len(again) != 2+len(kept) {
		t.Errorf("read back %q", again)
	}
}

func TestTheLettersOfAWordCostOneAnswer(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"": "", "svc": "", "日": "", "/": "/", "/Prod/sv": "/Prod/", "Prod/x": "Prod/", "-": "-", "--fo": "-", "--format=js": "--format=", "--output=/a": "--output=",
	} {
		if got := asked(word); got != want {
			t.Errorf("of %q the tree is asked %q, want %q", word, got, want)
		}
	}
	all := strings.Repeat("SRV\tdescription\n", 5000)
	if got := suggestions(all, "sr", "sr"); len(got) != enough {
		t.Errorf("%d suggestions", len(got))
	}
}

func TestCompletionOfWordsWithSpaces(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, word, typed, want string }{
		{"the case does not matter", "SRV1", "srv", "SRV1"},
		{"the value of a flag keeps its flag", "json", "--format=j", "--format=json"},
		{"a plain word replaces what was typed", "service", "ser", "service"},
		{"a title with a space is quoted", "LAB admin", "", `"LAB admin"`},
		{"half a quoted title is gone on with", "LAB admin", `"LAB ad`, `admin"`},
		{"a backslash is kept", `LAB\svc`, `LAB`, `LAB\svc`},
		{"a title with a quote takes the other kind", `say "hi"`, "", `'say "hi"'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := suggestions("nothing like it\tother\n"+c.word+"\tdescription\n:4\n", c.typed, strings.Trim(c.typed, `"`))
			if c.typed == "" { // everything goes on from nothing
				got = got[1:]
			}
			if len(got) != 1 || got[0].Text != c.want || got[0].Description != "description" {
				t.Errorf("got %+v", got)
			}
		})
	}
}
