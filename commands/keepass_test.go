package commands

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// A KeePass database's password is typed: once to open one, twice to make one.
func TestTheKeePassPasswordIsAsked(t *testing.T) {
	t.Parallel()
	d, _, stderr := withVault(t)
	var asked []string
	answers := []string{}
	d.ReadSecret = func(_ context.Context, prompt string) (secret.Value, error) {
		asked = append(asked, prompt)
		if len(answers) == 0 {
			return secret.Value{}, ErrNoTerminal
		}
		answer := answers[0]
		answers = answers[1:]
		return secret.Copy([]byte(answer)), nil
	}
	file := filepath.Join(t.TempDir(), "out.kdbx")
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what    string
		args    []string
		answers []string
		asked   int
		code    int
		says    string
	}{
		{"two different passwords make nothing", []string{"export", "--keepass-version", "3.1", file}, []string{"one", "two"}, 2, pam.ErrUsage.Code(), "the two passwords differ"},
		{"no password makes nothing", []string{"export", "--keepass-version", "3.1", file}, []string{"", ""}, 2, pam.ErrUsage.Code(), "neither a password nor a key file"},
		{"the same password twice", []string{"export", "--keepass-version", "3.1", file}, []string{"one", "one"}, 2, 0, ""},
		{"the wrong password", []string{"import", file}, []string{"two"}, 1, pam.ErrInvalidInput.Code(), "is wrong; nothing changed"},
		{"the right one", []string{"import", file}, []string{"one"}, 1, 0, ""},
		{"nobody to ask", []string{"import", file}, nil, 1, pam.ErrUsage.Code(), "neither a password nor a key file"},
		{"what is no database is not asked for", []string{"import", "--format", "keepass", key}, []string{"one"}, 0, pam.ErrInvalidInput.Code(), "no KeePass database"},
		{"a key file and no password", []string{"export", "--keepass-version", "3.1", "--force", "--keepass-key-file", key, file}, []string{"", ""}, 2, 0, ""},
		{"a key file and nobody to ask", []string{"import", "--keepass-key-file", key, file}, nil, 1, 0, ""},
	} {
		asked, answers = nil, c.answers
		stderr.Reset()
		code := Run(t.Context(), d, c.args)
		if code != c.code || len(asked) != c.asked || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%s: code %d, asked %q, said %s", c.what, code, asked, stderr)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil || !bytes.HasPrefix(data, []byte{0x03, 0xd9, 0xa2, 0x9a}) {
		t.Errorf("the file begins with % x, %v", data[:min(4, len(data))], err)
	}
}
