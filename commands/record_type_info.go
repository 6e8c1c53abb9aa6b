package commands

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type typeInfoOptions struct{ records, fields, example bool }

// A typeField is a field of a record type, or a field type, in JSON.
type typeField struct {
	Type   string   `json:"type"`
	Label  string   `json:"label,omitempty"`
	Custom bool     `json:"custom"`
	Secret bool     `json:"secret"`
	Parts  []string `json:"parts"`
}

type typeDocument struct {
	Type   pam.RecordType `json:"type"`
	Fields []typeField    `json:"fields"`
}

func newRecordTypeInfo(d *Deps) *cobra.Command {
	o := typeInfoOptions{}
	cmd := &cobra.Command{
		Use:     "record-type-info [TYPE]",
		Aliases: []string{"rti"},
		Short:   "Show record types and their fields",
		Long: `Show the record types, or the fields of one as "record-add" takes them. Fields
that begin with c. are custom ones that Keyturn reads. With --list-field: the
types that a field can have; with --example: the command line that adds such a
record.`,
		Example: "  keyturn record-type-info\n  keyturn record-type-info pamMachine\n" +
			"  keyturn record-type-info -lf\n  keyturn rti pamUser -e",
		Args: atMostOne, Annotations: notes(annotShort, "lr=list-record lf=list-field"),
	}
	f := cmd.Flags()
	f.BoolVar(&o.records, "list-record", false, "list record types, as without a flag (short: -lr)")
	f.BoolVar(&o.fields, "list-field", false, "list the types of fields (short: -lf)")
	f.BoolVarP(&o.example, "example", "e", false, "show how a record of the type is added")
	cmd.ValidArgsFunction = first(fixed(recordTypeNames()...))
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) { return o.view(c.args) })
}

func (o typeInfoOptions) view(args []string) (output.View, error) {
	name := strings.Join(args, "")
	if o.fields {
		return fieldTypesView(name)
	}
	schemas := recordSchemas()
	if name != "" {
		s, err := schemaOf(name)
		if err != nil {
			return output.View{}, err
		}
		schemas = []recordSchema{s}
	}
	docs := []typeDocument{}
	all := output.Table{Header: []string{"Record Type", "Fields"}, Prose: []string{"Fields"}}
	one := output.Table{Header: []string{"Record Type", "Field", "Secret", "Parts"}, Prose: []string{"Parts"}}
	var examples []string
	for _, s := range schemas {
		doc := typeDocument{s.Type, s.documents()}
		docs = append(docs, doc)
		all.Rows = append(all.Rows, []string{string(s.Type), strings.Join(fieldWords(s), ", ")})
		for i, word := range fieldWords(s) {
			f := doc.Fields[i]
			one.Rows = append(one.Rows, []string{string(s.Type), word, strconv.FormatBool(f.Secret), strings.Join(f.Parts, ", ")})
		}
		examples = append(examples, s.example())
	}
	v := output.View{Tables: []output.Table{all}, CSV: &one, Document: map[string]any{"record_types": docs}}
	if name != "" {
		v.Tables = []output.Table{one}
	}
	if o.example {
		v.Tables, v.Before = nil, examples
	}
	return v, nil
}

func (s recordSchema) documents() []typeField {
	docs := []typeField{}
	for _, f := range s.Fields {
		docs = append(docs, typeFieldOf(f))
	}
	for _, f := range s.Read {
		doc := typeFieldOf(f)
		doc.Custom = true
		docs = append(docs, doc)
	}
	return docs
}

func typeFieldOf(f fieldSpec) typeField {
	return typeField{
		Type: f.Type, Label: f.Label, Secret: isSecretType(f.Type), Parts: append([]string{}, fieldTypes()[f.Type]...),
	}
}

// example is a command line that adds a record of the type.
func (s recordSchema) example() string {
	words := []string{"keyturn record-add -rt " + string(s.Type) + " -t TITLE"}
	for _, f := range s.Fields {
		value := "VALUE"
		switch {
		case isSecretType(f.Type):
			value = "@FILE"
		case slices.Contains(fieldTypes()[f.Type], "hostName"):
			value = "HOST:PORT"
		case f.Type == "checkbox":
			value = "true"
		}
		words = append(words, f.String()+"="+value)
	}
	return strings.Join(words, " ")
}

func fieldTypesView(name string) (output.View, error) {
	t := output.Table{Header: []string{"Field Type", "Secret", "Parts"}, Prose: []string{"Parts"}}
	docs := []typeField{}
	for _, typ := range slices.Sorted(maps.Keys(fieldTypes())) {
		if name != "" && !strings.EqualFold(typ, name) {
			continue
		}
		doc := typeFieldOf(fieldSpec{Type: typ})
		docs = append(docs, doc)
		t.Rows = append(t.Rows, []string{typ, strconv.FormatBool(doc.Secret), strings.Join(doc.Parts, ", ")})
	}
	if len(docs) == 0 {
		return output.View{}, usagef("Field type %q is not supported.", name).WithHint("keyturn record-type-info --list-field")
	}
	return output.View{Tables: []output.Table{t}, Document: map[string]any{"field_types": docs}}, nil
}
