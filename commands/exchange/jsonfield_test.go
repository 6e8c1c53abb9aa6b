package exchange_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keyturn/commands/exchange"
)

// document decodes JSON so that numbers are the digits they are written with.
func document(tb testing.TB, text string) any {
	tb.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		tb.Fatalf("%v: %s", err, text)
	}
	return v
}

// Whatever value a field has in Commander's file, it leaves as that value.
func TestAFieldLeavesAsItCame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, name, value string }{
		{"a number of milliseconds", "$date:born", `1700000000000`},
		{"a number with a zero", "$x:y", `1.10`},
		{"a number beyond any float", "$x:y", `-12345678901234567890.000000000000000000010e+400`},
		{"a truth value", "$isSSIDHidden", `false`},
		{"the text of a number", "$x:y", `"1.10"`},
		{"a list of numbers and texts", "$x:y", `[1, 2, "2", null, "", true, "true"]`},
		{"an object of texts and numbers", "$pamHostname", `{"hostName": "h", "port": 5986}`},
		{"an object with an empty part", "$pamHostname", `{"hostName": "h", "port": ""}`},
		{"a part that is null", "$pamHostname", `{"hostName": "h", "port": null}`},
		{"a number that looks like another part", "$x:y", `{"a": "1", "b": 1}`},
		{"a key pair", "$keyPair:k", `{"publicKey": "pub", "privateKey": "priv\n"}`},
		{"the public half", "$keyPair", `{"publicKey": "pub", "privateKey": ""}`},
		{"two key pairs", "$keyPair", `[{"publicKey": "1", "privateKey": "a"}, {"publicKey": "2", "privateKey": "b"}]`},
		{"a passkey", "$passkey", `{"privateKey": {"kty": "EC", "d": "x"}, "credentialId": "c", "signCount": 0, "createdDate": 1.10}`},
		{"lists of lists", "$x:y", `[[1, [2]], [], {}, {"a": {}}]`},
		{"a list of an empty object", "$x:y", `[{}]`},
		{"an object for a secret", "$pinCode", `{"a": "1"}`},
		{"a number for a secret", "$pinCode", `1234`},
		{"an empty secret among others", "$pinCode", `["", "1"]`},
		{"a number for a login", "$login", `5`},
		{"letters that HTML escapes", "$x:y", `[["<&>\u2028\\"]]`},
	} {
		text := fmt.Sprintf(`{"records": [{"title": "t", "$type": "odd", "custom_fields": {%q: %s}}]}`, c.name, c.value)
		f, err := exchange.ReadJSON([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		written, err := writeJSON(f.Entries)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(document(t, text), document(t, written)); d != "" {
			t.Errorf("%s: %s", c.what, d)
		}
	}
}

// CSV and KeePass have only texts; what holds a secret is one again when it is back.
func TestADeepValueStaysASecretInEveryFormat(t *testing.T) {
	t.Parallel()
	f, err := exchange.ReadJSON([]byte(`[{"title": "t", "custom_fields": {"$passkey": {"a": {"d": "x"}}, "$keyPair:k": {"privateKey": "p"}, "$odd": [[1]]}}]`))
	if err != nil {
		t.Fatal(err)
	}
	want, err := writeJSON(f.Entries)
	if err != nil {
		t.Fatal(err)
	}
	text, err := writeCSV(f.Entries)
	if err != nil {
		t.Fatal(err)
	}
	csv, err := exchange.ReadCSV([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	keepass, err := exchange.ThroughKeePass(f.Entries)
	if err != nil {
		t.Fatal(err)
	}
	for what, back := range map[string]exchange.File{"CSV": csv, "KeePass": keepass} {
		for _, field := range back.Entries[0].Record.Fields {
			if field.Secret.IsZero() || !field.JSON || len(field.Values)+len(field.Parts) > 0 {
				t.Errorf("%s: %s is no secret of JSON: %+v", what, field.Type, field)
			}
		}
		got, err := writeJSON(back.Entries)
		if err != nil || got != want {
			t.Errorf("%s: %v\n%s\n%s", what, err, got, want)
		}
	}
}

// anyJSON draws a value of JSON as text.
func anyJSON(r *rapid.T, depth int) string {
	kinds := 5
	if depth > 0 {
		kinds = 7
	}
	switch rapid.IntRange(0, kinds-1).Draw(r, "kind") {
	case 0:
		return "null"
	case 1:
		return rapid.SampledFrom([]string{"true", "false"}).Draw(r, "bool")
	case 2:
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?`).Draw(r, "number")
	case 5:
		return "[" + strings.Join(drawn(r, depth, func(int) string { return "" }), ", ") + "]"
	case 6:
		return "{" + strings.Join(drawn(r, depth, func(i int) string {
			names := [][]string{{"privateKey", "hostName", ""}, {"answer", "port"}, {"b"}}
			return fmt.Sprintf("%q: ", rapid.SampledFrom(names[i]).Draw(r, "name"))
		}), ", ") + "}"
	}
	return quoted(r)
}

func drawn(r *rapid.T, depth int, name func(i int) string) []string {
	var all []string
	for i := range rapid.IntRange(0, 3).Draw(r, "length") {
		all = append(all, name(i)+anyJSON(r, depth-1))
	}
	return all
}

func quoted(r *rapid.T) string {
	b, err := json.Marshal(rapid.StringMatching(`[ -~é<\n]{0,6}|[0-9]{1,3}|true|null|\{\}|\[\[\]\]`).Draw(r, "text"))
	if err != nil {
		r.Fatal(err)
	}
	return string(b)
}

// same brings a field's value to what the file says by it: a list of one is its
// value, unless that is deep, and a field without a value is none. An object is kept
// where it is a secret.
func same(v any, secret bool) (value any, is bool) {
	if list, ok := v.([]any); ok && len(list) == 1 {
		if _, nested := list[0].([]any); !nested && !emptyObject(list[0]) && !structured(list[0]) {
			v = list[0]
		}
	}
	switch v := v.(type) {
	case nil:
		return nil, false
	case string:
		return v, v != ""
	case []any:
		return v, len(v) > 0
	case map[string]any:
		for _, part := range v {
			if part != nil && part != "" {
				return v, true
			}
		}
		return v, secret && len(v) > 0
	}
	return v, true
}

// structured reports whether a member of an object is a list or an object.
func structured(v any) bool {
	object, _ := v.(map[string]any)
	for _, member := range object {
		switch member.(type) {
		case []any, map[string]any:
			return true
		}
	}
	return false
}

func emptyObject(v any) bool {
	object, ok := v.(map[string]any)
	return ok && len(object) == 0
}

func TestAnyDocumentComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var records []string
		for i := range rapid.IntRange(1, 3).Draw(r, "records") {
			var fields []string
			for j := range rapid.IntRange(1, 4).Draw(r, "fields") {
				typ := rapid.SampledFrom([]string{"text", "unheard", "passkey", "pinCode", "keyPair", "pamHostname", "secret", "date"}).Draw(r, "type")
				fields = append(fields, fmt.Sprintf(`"$%s:f%d": %s`, typ, j, anyJSON(r, 4)))
			}
			records = append(records, fmt.Sprintf(
				`{"title": "t%d", "$type": "odd%d", "notes": "n%d", "login": "l", "password": "p", "custom_fields": {%s}, "folders": [{"folder": "a\\b%d"}]}`,
				i, i, i, strings.Join(fields, ", "), i))
		}
		text := `{"records": [` + strings.Join(records, ", ") + "]}"
		f, err := exchange.ReadJSON([]byte(text))
		if err != nil {
			r.Fatalf("%v: %s", err, text)
		}
		defer f.Destroy()
		var b bytes.Buffer
		if err := exchange.WriteJSON(&b, f.Entries); err != nil {
			r.Fatal(err)
		}
		want := document(t, text)
		for _, one := range want.(map[string]any)["records"].([]any) {
			record := one.(map[string]any)
			custom := record["custom_fields"].(map[string]any)
			for name, v := range custom {
				value, is := same(v, strings.HasPrefix(name, "$pinCode") || strings.HasPrefix(name, "$secret"))
				if custom[name] = value; !is {
					delete(custom, name)
				}
			}
			if len(custom) == 0 {
				delete(record, "custom_fields")
			}
		}
		if d := cmp.Diff(want, document(t, b.String())); d != "" {
			r.Fatalf("%s\n%s\n%s", d, text, &b)
		}
	})
}
