package commands

import (
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// A fieldSpec names a field: its type and label.
type fieldSpec struct{ Type, Label string }

func (f fieldSpec) String() string {
	if f.Label == "" {
		return f.Type
	}
	return f.Type + "." + f.Label
}

// A recordSchema is what a record type defines, in Commander's words and order.
type recordSchema struct {
	Type   pam.RecordType
	Fields []fieldSpec
	// Read are the custom fields that Keyturn or Commander's gateway reads.
	Read []fieldSpec
}

func recordSchemas() []recordSchema {
	return []recordSchema{
		{
			pam.TypeMachine, specs("pamHostname", "checkbox.sslVerification", "text.operatingSystem", "text.instanceName",
				"text.instanceId", "text.providerGroup", "text.providerRegion", "oneTimeCode"),
			specs("text.transport", "text.serverPin", "text.caFile", "text.hostKey"),
		},
		{pam.TypeUser, specs("login", "password", "secret.privatePEMKey", "text.distinguishedName", "text.connectDatabase",
			"checkbox.managed", "oneTimeCode"), specs("text.sshAgent", "secret.passphrase", "text.NOOP")},
		{
			pam.TypeDirectory, specs("pamHostname", "checkbox.useSSL", "text.domainName", "multiline.alternativeIPs",
				"text.directoryId", "directoryType", "text.userMatch", "text.providerGroup", "text.providerRegion"),
			specs("text.serverPin", "text.caFile"),
		},
		{
			pam.TypeLogin, specs("login", "password", "url", "oneTimeCode"),
			specs("text.sshAgent", "secret.privatePEMKey", "secret.passphrase"),
		},
	}
}

func specs(names ...string) []fieldSpec {
	list := make([]fieldSpec, len(names))
	for i, n := range names {
		list[i].Type, list[i].Label, _ = strings.Cut(n, ".")
	}
	return list
}

// schemaOf returns the schema of a record type, which is compared without case.
func schemaOf(name string) (recordSchema, error) {
	for _, s := range recordSchemas() {
		if strings.EqualFold(string(s.Type), name) {
			return s, nil
		}
	}
	return recordSchema{}, usagef("Record type %q cannot be found.", name).
		WithHint("the record types are %s", strings.Join(recordTypeNames(), ", "))
}

// fieldWords are the fields of record types as they are written on a command
// line, each once.
func fieldWords(of ...recordSchema) []string {
	var words []string
	add := func(word string) {
		if !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	for _, s := range of {
		for _, f := range s.Fields {
			add(f.String())
		}
		for _, f := range s.Read {
			add(string(WhereCustom) + "." + f.String())
		}
	}
	return words
}

func recordTypeNames() []string {
	var names []string
	for _, s := range recordSchemas() {
		names = append(names, string(s.Type))
	}
	return names
}

// fieldTypes are the types a field can have, with the parts of structured ones.
func fieldTypes() map[string][]string {
	return map[string][]string{
		"login": nil, "password": nil, "url": nil, "text": nil, "multiline": nil, "checkbox": nil, "secret": nil,
		"oneTimeCode": nil, "pinCode": nil, "privateKey": nil, "note": nil, "email": nil, "directoryType": nil,
		"pamHostname": {"hostName", "port"}, "host": {"hostName", "port"}, "name": {"first", "middle", "last"},
	}
}

// canonicalType returns the spelling of a field type that the vault keeps.
func canonicalType(name string) (string, bool) {
	for t := range fieldTypes() {
		if strings.EqualFold(t, name) {
			return t, true
		}
	}
	return "", false
}

func isSecretType(name string) bool {
	return slices.ContainsFunc(pam.SecretFieldTypes, func(t string) bool { return strings.EqualFold(t, name) })
}

// defines returns the schema's own spelling of a field.
func (s recordSchema) defines(typ, label string) (fieldSpec, bool) {
	for _, f := range s.Fields {
		if strings.EqualFold(f.Type, typ) && strings.EqualFold(f.Label, label) {
			return f, true
		}
	}
	return fieldSpec{}, false
}
