package commands

import (
	"strings"
)

// A Where says in which part of a record a field is.
type Where string

// The parts: by the record type's definition, or as the prefix says.
const (
	WhereAny    Where = ""  // a defined field if the type has it, else a custom one
	WhereFixed  Where = "f" // f.: must be defined by the record type
	WhereCustom Where = "c" // c.: a custom field
)

// An Assignment is one "[f.|c.]type[.label]=value" of a command line. Value may
// be a secret: it is never part of a message.
type Assignment struct {
	Where Where
	Type  string
	Label string
	Value string
}

// Name is the assignment without its value, as written.
func (a Assignment) Name() string {
	name := fieldSpec{a.Type, a.Label}.String()
	if a.Where != WhereAny {
		return string(a.Where) + "." + name
	}
	return name
}

// ParseAssignment reads a field of a command line: "[f.|c.]type[.label]=value".
// "==" is an equal sign in the name; a value that begins with one has a space
// before it. The error is ErrUsage and does not hold the value.
func ParseAssignment(s string) (Assignment, error) {
	name, value, ok := cutName(s)
	if !ok {
		return Assignment{}, usagef("a field is written type=value or type.label=value; one of the arguments has no =").
			WithHint(`a value that begins with = has a space before it: "text.note= =5"`)
	}
	var a Assignment
	for _, w := range []Where{WhereFixed, WhereCustom} {
		if rest, has := cutPrefixFold(name, string(w)+"."); has {
			a.Where, name = w, rest
			break
		}
	}
	a.Type, a.Label, _ = strings.Cut(name, ".")
	a.Value = value
	if strings.TrimSpace(a.Type) == "" {
		return Assignment{}, usagef("a field is written type=value or type.label=value; one of the arguments has no type")
	}
	if strings.HasPrefix(value, " =") {
		a.Value = value[1:]
	}
	return a, nil
}

// String writes a so that [ParseAssignment] reads it back.
func (a Assignment) String() string {
	value := a.Value
	if strings.HasPrefix(value, "=") || strings.HasPrefix(value, " =") {
		value = " " + value
	}
	return strings.ReplaceAll(a.Name(), "=", "==") + "=" + value
}

// cutName splits at the first "=" that is not doubled.
func cutName(s string) (name, value string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '=':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '=':
			b.WriteByte('=')
			i++
		default:
			return b.String(), s[i+1:], true
		}
	}
	return "", "", false
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}
