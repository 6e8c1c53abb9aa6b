package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// customField reads one member of custom_fields. A text, number or truth value, a
// flat list of them and an object of them are what their field's type says; what is
// deeper is kept whole. A list of one is its value, and no value is no field.
func customField(m pair) ([]pam.Field, error) {
	f := namedField(m.name)
	if f.Type == "" {
		return nil, errors.New("has no type")
	}
	return valueField(f, bytes.TrimSpace(m.value))
}

func valueField(f pam.Field, raw []byte) ([]pam.Field, error) {
	if deep(raw) {
		return wholeField(f, raw)
	}
	switch raw[0] {
	case '{':
		fields, err := objectField(f, raw)
		if err == nil && !slices.ContainsFunc(fields, says) {
			return nil, nil
		}
		return fields, err
	case '[':
		return listField(f, raw)
	}
	text, err := scalar(raw)
	if err != nil || text == "" {
		return nil, err
	}
	setValue(&f, text, raw)
	return []pam.Field{f}, nil
}

// says reports whether there is any value in a field.
func says(f pam.Field) bool {
	for _, text := range f.Parts {
		if text != "" {
			return true
		}
	}
	return len(f.Values) > 0 || !f.Secret.IsZero()
}

// deep reports whether valid JSON is more than a value, an object of values, or a
// list of values and of objects of them. An object without members in a list is,
// too: nothing else would hold its place.
func deep(raw []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // some are larger than Go's
	var open []json.Delim
	for {
		t, err := dec.Token()
		if err != nil {
			return false
		}
		d, structure := t.(json.Delim)
		switch {
		case !structure:
		case d == ']' || d == '}':
			open = open[:len(open)-1]
		case len(open) > 0 && (d == '[' || open[len(open)-1] == '{' || !dec.More()):
			return true
		default:
			open = append(open, d)
		}
	}
}

// wholeField keeps a value as the JSON that it is. It is a secret, for nobody here
// knows what in it is one: a passkey has a private key.
func wholeField(f pam.Field, raw []byte) ([]pam.Field, error) {
	if strings.EqualFold(f.Type, "password") {
		return nil, errors.New("is no text, and its type is a password's")
	}
	if half(raw) {
		return nil, errHalf
	}
	text := bytes.NewBuffer(make([]byte, 0, len(raw))) // never longer, so never copied
	if err := json.Compact(text, raw); err != nil {
		return nil, err
	}
	f.Secret, f.JSON = secret.New(text.Bytes()), true
	return []pam.Field{f}, nil
}

// bare reports whether a value is no text: a number, a truth value or null.
func bare(raw []byte) bool { return raw[0] != '"' }

// setValue gives a field a value of JSON, whose text is known. The truth value of a
// checkbox needs no mark, and a password is a text whatever it looks like: it is
// rotated.
func setValue(f *pam.Field, text string, raw []byte) {
	setText(f, text)
	boolean := strings.EqualFold(f.Type, "checkbox") && (text == "true" || text == "false")
	f.JSON = bare(raw) && !boolean && !strings.EqualFold(f.Type, "password")
}

// listField reads a list: neighbouring values of one kind are those of one field,
// every secret and every object is a field of its own.
func listField(f pam.Field, raw []byte) ([]pam.Field, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	empty := func(one json.RawMessage) bool { return string(one) == "null" || string(one) == `""` }
	switch {
	case len(list) == 1: // as what is in it alone
		return valueField(f, list[0])
	case isSecret(f.Type) && slices.ContainsFunc(list, empty): // there is no empty secret to hold its place
		return wholeField(f, raw)
	}
	var fields []pam.Field
	for _, one := range list {
		more, err := elementField(f, one)
		if err != nil {
			return nil, err
		}
		if n := len(fields); n > 0 && joins(fields[n-1], more[0]) {
			fields[n-1].Values = append(fields[n-1].Values, more[0].Values...)
			continue
		}
		fields = append(fields, more...)
	}
	return fields, nil
}

// joins reports whether two fields of a list can be one of more values.
func joins(a, b pam.Field) bool { return len(a.Values) > 0 && len(b.Values) > 0 && a.JSON == b.JSON }

func elementField(f pam.Field, raw []byte) ([]pam.Field, error) {
	if raw[0] == '{' {
		return objectField(f, raw)
	}
	text, err := scalar(raw)
	setValue(&f, text, raw)
	return []pam.Field{f}, err
}

// privatePart is the part of a key pair that makes all of it a secret.
const privatePart = "privateKey"

// objectField reads an object of values; one with a private key, and one where the
// type is that of secrets, is kept whole.
func objectField(f pam.Field, raw []byte) ([]pam.Field, error) {
	members, err := object(raw)
	if err != nil {
		return nil, err
	}
	if isSecret(f.Type) && len(members) > 0 {
		return wholeField(f, raw)
	}
	parts := map[string]string{}
	f.Values, f.Parts, f.Bare = nil, parts, nil
	for _, m := range members {
		text, err := scalar(m.value)
		switch {
		case errors.Is(err, errHalf):
			return nil, fmt.Errorf("part %q %w", shorten(m.name), err)
		case err != nil:
			return wholeField(f, raw)
		}
		parts[m.name] = text
		if bare(m.value) {
			f.Bare = append(f.Bare, m.name)
		}
	}
	if parts[privatePart] != "" {
		f.Parts, f.Bare = nil, nil
		return wholeField(f, raw)
	}
	return []pam.Field{f}, nil
}

// fieldValues are the values of a field as JSON has them.
func fieldValues(f pam.Field) []any {
	switch {
	case !f.Secret.IsZero():
		if f.JSON {
			return []any{literal(string(f.Secret.Reveal()))}
		}
		return []any{string(f.Secret.Reveal())}
	case len(f.Parts) > 0:
		return []any{partsValue(f)}
	}
	out := make([]any, len(f.Values))
	for i, v := range f.Values {
		out[i] = v
		if b, err := strconv.ParseBool(v); err == nil && f.Type == "checkbox" && strconv.FormatBool(b) == v {
			out[i] = b
		}
		if f.JSON {
			out[i] = literal(v)
		}
	}
	return out
}

func partsValue(f pam.Field) any {
	if len(f.Bare) == 0 {
		return f.Parts
	}
	parts := map[string]any{}
	for name, text := range f.Parts {
		parts[name] = text
		if slices.Contains(f.Bare, name) {
			parts[name] = literal(text)
		}
	}
	return parts
}

// literal is a text as the JSON that it is; the empty one is null. A text that is no
// JSON after all stays one.
func literal(text string) any {
	if text == "" {
		text = "null"
	}
	if !json.Valid([]byte(text)) {
		return text
	}
	return json.RawMessage(text)
}
