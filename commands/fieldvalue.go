package commands

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/secret"
)

// Words that begin a value which is not meant literally.
const (
	valueGenerate = "$GEN"
	valueBase64   = "$BASE64:"
	valueJSON     = "$JSON:"
)

const literalSecretWarning = "warning: %s was given on the command line, where the process list and the shell's history keep it; " +
	"%s=@FILE reads a file, %s= asks"

// field turns an assignment into a field of a record of type s. The field is
// empty where the value is: record-update then removes it.
func (d *Deps) field(ctx context.Context, s recordSchema, a Assignment) (pam.Field, error) {
	f, err := locate(s, a)
	if err != nil {
		return f, err
	}
	d.warnUnknownLabel(s, a, f)
	if isSecretType(f.Type) {
		f.Secret, err = d.checkedSecret(ctx, f.Type, a)
		return f, err
	}
	if strings.EqualFold(f.Label, "caFile") && a.Value != "" {
		// A path is used again from other folders.
		if a.Value, err = d.path(a.Value); err != nil {
			return f, err
		}
	}
	if parts := fieldTypes()[f.Type]; parts != nil {
		f.Parts, err = partsValue(f.Type, parts, a)
		return f, err
	}
	f.Values, err = plainValues(a)
	return f, err
}

// locate finds where the field belongs: in the record type's own fields or
// among the custom ones.
func locate(s recordSchema, a Assignment) (pam.Field, error) {
	if a.Where != WhereCustom {
		if spec, ok := s.defines(a.Type, a.Label); ok {
			return pam.Field{Type: spec.Type, Label: spec.Label}, nil
		}
	}
	typ, known := canonicalType(a.Type)
	switch {
	case !known:
		err := usagef("Field type %q is not supported.", a.Type)
		if spec, ok := s.labelled(a.Type); ok {
			return pam.Field{}, err.WithHint("write %s=VALUE", spec)
		}
		return pam.Field{}, err.WithHint("%s has the fields %s; others are written c.text.LABEL=VALUE", s.Type, s.list())
	case a.Where == WhereFixed:
		return pam.Field{}, usagef("Record type %q has no field %q.", s.Type, fieldSpec{a.Type, a.Label}).
			WithHint("it has %s", s.list())
	}
	return pam.Field{Type: typ, Label: a.Label, Custom: true}, nil
}

func (s recordSchema) list() string {
	names := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		names[i] = f.String()
	}
	return strings.Join(names, ", ")
}

// labelled finds the field that somebody meant who wrote its label alone.
func (s recordSchema) labelled(label string) (fieldSpec, bool) {
	i := slices.IndexFunc(s.Fields, func(f fieldSpec) bool { return strings.EqualFold(f.Label, label) })
	if i < 0 {
		return fieldSpec{}, false
	}
	return s.Fields[i], true
}

// checkedSecret reads the value of a secret. An empty value asks for a password
// and removes any other secret; what was meant to be a value and is empty, or is
// no password that a target would take, is refused.
func (d *Deps) checkedSecret(ctx context.Context, typ string, a Assignment) (secret.Value, error) {
	isPassword := strings.EqualFold(typ, "password")
	if a.Value == "" && !isPassword {
		return secret.Value{}, nil
	}
	v, err := d.secretValue(ctx, a)
	switch {
	case err != nil:
		return v, err
	case v.IsZero():
		return v, usagef("the value of %s is empty; nothing was changed", a.Name())
	case isPassword:
		if err := password.Valid(v); err != nil {
			return v, pam.Errorf(pam.KindOf(err), "the value of %s: %w; nothing was saved", a.Name(), err)
		}
	}
	return v, nil
}

// secretValue reads the value of a secret: @FILE, @- for standard input, nothing
// to be asked, $GEN to generate, $BASE64:, @@x for a literal @x, or a literal.
func (d *Deps) secretValue(ctx context.Context, a Assignment) (secret.Value, error) {
	switch v := a.Value; {
	case v == "":
		return d.askSecret(ctx, a)
	case strings.HasPrefix(v, "@@"):
		d.warnLiteral(a)
		return secret.New([]byte(v[1:])), nil
	case v[0] == '@':
		return d.secretFile(ctx, v[1:], "value of "+a.Name())
	case v == valueGenerate || strings.HasPrefix(v, valueGenerate+":"):
		return d.generated(a)
	case strings.HasPrefix(v, valueBase64):
		d.warnLiteral(a)
		b, err := base64.StdEncoding.DecodeString(v[len(valueBase64):])
		if err != nil {
			return secret.Value{}, usagef("%s: what follows %s is not base64", a.Name(), valueBase64)
		}
		return secret.New(b), nil
	default:
		d.warnLiteral(a)
		return secret.New([]byte(v)), nil
	}
}

func (d *Deps) warnLiteral(a Assignment) {
	if !d.Interactive && !d.Session.batch {
		d.sayf(literalSecretWarning, a.Name(), a.Name(), a.Name())
	}
}

func (d *Deps) askSecret(ctx context.Context, a Assignment) (secret.Value, error) {
	v, err := d.ReadSecret(ctx, a.Name()+": ")
	if errors.Is(err, ErrNoTerminal) {
		return v, usagef("%s= asks for the value, and there is no terminal to ask on", a.Name()).
			WithHint("%s=@FILE reads a file, %s=@- standard input", a.Name(), a.Name())
	}
	return v, err
}

// generated makes a secret for $GEN[:rand][,LENGTH].
func (d *Deps) generated(a Assignment) (secret.Value, error) {
	rules := password.DefaultRules()
	options := strings.TrimPrefix(strings.TrimPrefix(a.Value, valueGenerate), ":")
	for o := range strings.SplitSeq(options, ",") {
		n, err := strconv.Atoi(o)
		switch {
		case err == nil:
			rules.Length = n
		case o != "" && o != "rand":
			return secret.Value{}, usagef("%s: unknown option %q of %s", a.Name(), o, valueGenerate).
				WithHint("%s=%s:rand,24", a.Name(), valueGenerate)
		}
	}
	return password.Generate(d.Random, rules)
}

func plainValues(a Assignment) ([]string, error) {
	v := a.Value
	switch {
	case v == "":
		return nil, nil
	case strings.HasPrefix(v, valueBase64):
		b, err := base64.StdEncoding.DecodeString(v[len(valueBase64):])
		if err != nil || !utf8.Valid(b) {
			return nil, usagef("%s: what follows %s is not the base64 of a text", a.Name(), valueBase64)
		}
		return []string{string(b)}, nil
	case strings.HasPrefix(v, valueJSON):
		return jsonValues(a)
	}
	return []string{v}, nil
}

func jsonValues(a Assignment) ([]string, error) {
	text := []byte(a.Value[len(valueJSON):])
	var list []string
	if json.Unmarshal(text, &list) == nil {
		return list, nil
	}
	var one string
	if json.Unmarshal(text, &one) == nil {
		return []string{one}, nil
	}
	return nil, usagef("%s: what follows %s is neither a JSON string nor a list of strings", a.Name(), valueJSON)
}

// partsValue reads a structured value: JSON, a list "part=value,part=value", or
// HOST[:PORT] where the parts are a host's.
func partsValue(typ string, names []string, a Assignment) (map[string]string, error) {
	v := strings.TrimSpace(a.Value)
	switch {
	case v == "":
		return nil, nil
	case strings.HasPrefix(v, valueJSON):
		return jsonParts(names, a)
	case strings.Contains(v, "="):
		return listedParts(names, a)
	case slices.Contains(names, "hostName"):
		return hostParts(a.Name(), v)
	}
	return nil, usagef("%s: write its parts as %s=VALUE,... or %s{...}", a.Name(), names[0], valueJSON).
		WithHint("the parts of %s are %s", typ, strings.Join(names, ", "))
}

func jsonParts(names []string, a Assignment) (map[string]string, error) {
	var raw map[string]any
	dec := json.NewDecoder(strings.NewReader(strings.TrimSpace(a.Value)[len(valueJSON):]))
	dec.UseNumber()
	if err := dec.Decode(&raw); err != nil || dec.More() {
		return nil, usagef("%s: what follows %s is not one JSON object", a.Name(), valueJSON)
	}
	parts := map[string]string{}
	for name, value := range raw {
		var text string
		switch value := value.(type) {
		case string:
			text = value
		case json.Number:
			text = value.String()
		default:
			return nil, usagef("%s: the part %q is neither a text nor a number", a.Name(), name)
		}
		if err := setPart(parts, names, a.Name(), name, text); err != nil {
			return nil, err
		}
	}
	return parts, checkHost(a.Name(), parts)
}

func listedParts(names []string, a Assignment) (map[string]string, error) {
	parts := map[string]string{}
	for item := range strings.FieldsFuncSeq(a.Value, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, ok := strings.Cut(item, "=")
		if !ok {
			return nil, usagef("%s: %q is not part=value", a.Name(), item)
		}
		if err := setPart(parts, names, a.Name(), name, value); err != nil {
			return nil, err
		}
	}
	return parts, checkHost(a.Name(), parts)
}

func setPart(parts map[string]string, names []string, field, name, value string) error {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			parts[n] = value
			return nil
		}
	}
	return usagef("%s has no part %q", field, name).WithHint("its parts are %s", strings.Join(names, ", "))
}

// hostParts reads HOST, HOST:PORT, [IPv6] or [IPv6]:PORT. An IPv6 address
// without brackets has no port.
func hostParts(field, v string) (map[string]string, error) {
	host, port := v, ""
	if h, p, err := net.SplitHostPort(v); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]") {
		host = v[1 : len(v)-1]
	}
	parts := map[string]string{"hostName": host}
	if port != "" {
		parts["port"] = port
	}
	return parts, checkHost(field, parts)
}

func checkHost(field string, parts map[string]string) error {
	host := parts["hostName"]
	odd := strings.ContainsAny(host, " /[]@") || strings.ContainsFunc(host, unicode.IsControl)
	if host != "" && (odd || strings.Contains(host, ":") && net.ParseIP(cutZone(host)) == nil) {
		return usagef("%s: %.80q is not a host", field, host).WithHint("write HOST, HOST:PORT or [IPv6]:PORT")
	}
	if p := parts["port"]; p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return usagef("%s: port %.20q is not a number from 1 to 65535", field, p)
		}
	}
	return nil
}

func cutZone(host string) string {
	address, _, _ := strings.Cut(host, "%")
	return address
}
