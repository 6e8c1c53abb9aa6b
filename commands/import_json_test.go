package commands

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// hidden is what the secrets of [TestSecretsOfAnyDocumentStayMasked] have in them.
const hidden = "hush-hush"

// secretJSON draws a value of JSON with a secret in it, inside which anything may be.
func secretJSON(r *rapid.T, depth int) any {
	inner := any(hidden + rapid.StringMatching(`[a-z<"\\]{0,4}`).Draw(r, "secret"))
	for range depth {
		switch other := any(json.Number(rapid.SampledFrom([]string{"1.10", "-0", "1700000000000", "1e400"}).Draw(r, "number"))); {
		case rapid.Bool().Draw(r, "list"):
			inner = []any{inner, other, nil, true}
		default:
			inner = map[string]any{rapid.StringMatching(`[a-z]{1,3}`).Draw(r, "name"): inner, "signCount": other, "": nil}
		}
	}
	return inner
}

// secretFields draws custom fields that all hold a secret, beside two that hold none.
func secretFields(r *rapid.T) map[string]any {
	fields := map[string]any{"$date:born": json.Number("1700000000000"), "$text:plain": []any{json.Number("1.10"), "x"}}
	for i := range rapid.IntRange(1, 4).Draw(r, "fields") {
		deep := secretJSON(r, rapid.IntRange(3, 5).Draw(r, "depth"))
		name, value := "", any(nil)
		switch rapid.IntRange(0, 4).Draw(r, "kind") {
		case 0:
			name, value = "$passkey", deep
		case 1:
			name, value = "$unheard", deep
		case 2:
			name, value = "$pinCode", secretJSON(r, rapid.IntRange(0, 3).Draw(r, "depth of it"))
		case 3:
			name, value = "$keyPair", map[string]any{"publicKey": "p", "privateKey": hidden}
		case 4:
			name, value = "$securityQuestion", map[string]any{"question": "q", "answer": hidden, "asked": json.Number("5")}
		}
		fields[fmt.Sprintf("%s:f%d", name, i)] = value
	}
	return fields
}

// What a file of any shape holds is in the vault as it came, and no command shows a
// secret of it that was not asked to.
func TestSecretsOfAnyDocumentStayMasked(t *testing.T) {
	t.Parallel()
	d, out, stderr := withVault(t)
	file := filepath.Join(t.TempDir(), "in.json")
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		round++
		title, folder := fmt.Sprintf("record %d", round), fmt.Sprintf("folder %d", round)
		run := func(args ...string) string {
			out.Reset()
			stderr.Reset()
			if code := Run(t.Context(), d, args); code != 0 {
				r.Fatalf("%v: code %d: %s", args, code, stderr)
			}
			return out.String() + stderr.String()
		}
		record := map[string]any{
			"title": title, "$type": "odd", "notes": "two\nlines", "login": "me", "password": hidden,
			"custom_fields": secretFields(r), "folders": []any{map[string]any{"folder": folder}},
		}
		text, err := json.Marshal(map[string]any{"records": []any{record}})
		if err != nil {
			r.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			r.Fatal(err)
		}
		shown := run("import", "--dry-run", file) + run("import", file)
		for _, args := range [][]string{
			{"get", title},
			{"get", title, "--format", "json"},
			{"get", title, "--format", "fields"},
			{"get", title, "--format", "csv"},
			{"get", title, "--format", "password"},
			{"ls", "-l", folder},
			{"ls", "-l", "--format", "json", folder},
			{"list", "--format", "json", title},
			{"list", "-v", "--format", "csv", title},
			{"search", title},
			{"record-history", title},
		} {
			shown += run(args...)
		}
		if strings.Contains(shown, hidden) {
			r.Fatalf("a secret is shown:\n%s\nof %s", shown, text)
		}
		run("export", "--force", "--format", "json", "--folder", folder)
		var exported struct{ Records []map[string]any }
		dec := json.NewDecoder(strings.NewReader(out.String()))
		dec.UseNumber()
		if err := dec.Decode(&exported); err != nil || len(exported.Records) != 1 {
			r.Fatalf("%v: %s", err, out)
		}
		delete(exported.Records[0], "uid")
		delete(exported.Records[0], "last_modified")
		if d := cmp.Diff(record, exported.Records[0]); d != "" {
			r.Fatalf("%s\n%s", d, text)
		}
	})
}
