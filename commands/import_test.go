package commands

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"keyturn/commands/exchange"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// withVault are dependencies with a new vault, which Lock closes.
func withVault(tb testing.TB) (d *Deps, out, stderr *bytes.Buffer) {
	tb.Helper()
	v, err := vault.Create(tb.Context(), filepath.Join(tb.TempDir(), "vault"), secret.Copy([]byte("a long passphrase")),
		vault.Options{KDFMemory: 19 * 1024, Now: time.Now, Random: rand.Reader, Actor: "tester"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = v.Close() })
	out, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &Deps{
		Out: out, Err: stderr, Session: &Session{}, Random: rand.Reader,
		Getenv:       func(string) string { return "" },
		InIsTerminal: func() bool { return false }, OutIsTerminal: func() bool { return false },
		DataDir: func() (string, error) { return tb.TempDir(), nil },
		Vault:   func(context.Context) (*vault.Vault, error) { return v, nil },
		Lock:    func() { _ = v.Close() },
	}, out, stderr
}

func quoteJSON(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Whatever a file calls its records, they come back as they were, and a terminal
// sees nothing of what would move its cursor.
func TestOddTextsAreKeptAndNotPrinted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 1<<20/5)
	for _, odd := range []string{
		"\x1b[2J\x1b]0;owned\a", "invoice\u202egpj.exe", "\u2066a\u2069", "two\nlines\ttab", "a\x00b\x7f", "=cmd|' /C calc'!A0", "'=1", " ", "{\"a\":1}", long,
	} {
		title := odd
		if odd == long || strings.TrimSpace(odd) == "" {
			title = "t"
		}
		q := quoteJSON(t, odd)
		text := `[{"title": ` + quoteJSON(t, title) + `, "login": ` + q + `, "notes": ` + q + `, "custom_fields": {"$unheard:of": ` + q + `, "$pinCode": ` + q + `}}]`
		file := filepath.Join(t.TempDir(), "in.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d, out, stderr := withVault(t)
		for _, args := range [][]string{{"import", "--dry-run", file}, {"import", file}, {"ls", "-l"}} {
			if code := Run(t.Context(), d, args); code != 0 {
				t.Fatalf("%.20q: %v: code %d: %s", odd, args, code, stderr)
			}
		}
		for _, r := range out.String() + stderr.String() {
			if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
				t.Errorf("%.20q is printed as %q", odd, out)
				break
			}
		}
		out.Reset()
		if code := Run(t.Context(), d, []string{"export", "--force", "--format", "json"}); code != 0 {
			t.Fatal(stderr)
		}
		f, err := exchange.ReadJSON(out.Bytes())
		if err != nil || len(f.Entries) != 1 {
			t.Fatalf("%.20q: %v", odd, err)
		}
		r := f.Entries[0].Record
		if r.Title != title || r.Notes != odd || r.Text("login", "") != odd || r.Text("unheard", "of") != odd ||
			string(r.Field("pinCode", "").Secret.Reveal()) != odd {
			t.Errorf("%.20q came back as %.200q", odd, r.Title)
		}
	}
}

func TestAFileThatCannotBeUsedIsRefusedInAFewWords(t *testing.T) {
	t.Parallel()
	million := strings.Repeat("x", 1<<20)
	for _, c := range []struct{ what, name, text, want string }{
		{"a title of a mebibyte", "a.json", `[{"title": "` + million + `"}]`, "record 1"},
		{"its host too", "a.json", `[{"title": "t", "$type": "pamMachine", "custom_fields": {"$pamHostname": {"hostName": "[` + million + `"}}}]`, `record 1 ("t"), field "pamHostname"`},
		{"the name of a field too", "a.json", `[{"title": "t", "custom_fields": {"$x:` + million + `": [["\ud800"]]}}]`, `record 1 ("t"), field "$x:xxx`},
		{"a title in CSV", "a.csv", ",ok,,,,\n," + million + ",,,,", "line 2"},
		{"JSON that is no UTF-8", "a.json", "[\n{\"title\": \"\xff\"}]", "line 2: the file is not UTF-8"},
		{"CSV that is no UTF-8", "a.csv", ",a,,,,\n,b\xff,,,,\n", "line 2: the file is not UTF-8"},
		{"half a character", "a.json", `[{"title": "t", "notes": "\ud800"`, "not JSON"},
		{
			"two records with one UID", "a.json", `[{"title": "t", "uid": "AAAAAAAAAAAAAAAAAAAAAA"}, {"title": "u", "uid": "AAAAAAAAAAAAAAAAAAAAAA"}]`,
			`record 2 ("u"), field "uid": AAAAAAAAAAAAAAAAAAAAAA is another record's of this file too`,
		},
		{"a database that is none", "a.kdbx", "title", "it is no KeePass database"},
	} {
		file := filepath.Join(t.TempDir(), c.name)
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		d, _, stderr := withVault(t)
		code := Run(t.Context(), d, []string{"import", file})
		if code != pam.ErrInvalidInput.Code() || !strings.Contains(stderr.String(), c.want) || !strings.Contains(stderr.String(), "nothing changed") {
			t.Errorf("%s: code %d: %.2000s", c.what, code, stderr)
		}
		if stderr.Len() > 1000 {
			t.Errorf("%s: %d bytes of complaint", c.what, stderr.Len())
		}
		v, err := d.Vault(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if heads, err := v.Heads(t.Context()); err != nil || len(heads) != 0 {
			t.Errorf("%s: %d records, %v", c.what, len(heads), err)
		}
	}
}
