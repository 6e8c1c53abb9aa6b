package commands

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type recordUpdateOptions struct {
	record, title, recordType, notes string
	clear                            []string
	force                            bool
	given                            func(flag string) bool
}

const notesWord = "notes" // what --clear calls them, which are no field

func newRecordUpdate(d *Deps) *cobra.Command {
	o := recordUpdateOptions{}
	cmd := &cobra.Command{
		Use:     "record-update FIELD=VALUE...",
		Aliases: []string{"ru"},
		Short:   "Change a record",
		Long: `Change the title, type, notes or fields of a record; "record-add --help" says
how fields are written. An empty value removes a field, but password= asks for
one: --clear removes any field, also a password.

A changed password of a pamUser becomes the account's current password here; it
is not sent anywhere. While a job holds the account it is refused. A password
that was removed stays in "record-history".`,
		Example: `  keyturn record-update -r SRV1 pamHostname=srv1.lab.example:5986
  keyturn record-update -r svc_app password=@svc_app.password
  keyturn record-update -r svc_app --clear password --clear notes`,
		Args:        assignments,
		Annotations: notes(annotNeeds, needVault, annotRequired, "record", annotShort, "rt=record-type"),
	}
	f := cmd.Flags()
	f.StringVarP(&o.record, "record", "r", "", "the record: `UID`, title or path")
	f.StringVarP(&o.title, "title", "t", "", "the new `title`")
	f.StringVar(&o.recordType, "record-type", "", "the new `type` (short: -rt): "+strings.Join(recordTypeNames(), ", "))
	f.StringVarP(&o.notes, "notes", "n", "", "notes: `text`; a leading + adds to what is there")
	f.StringArrayVar(&o.clear, "clear", nil, "remove a `FIELD`, a password or the notes; can be given several times")
	f.BoolVarP(&o.force, "force", "f", false, "accepted for Commander's sake: nothing is asked")
	o.given = f.Changed
	completeFlag(cmd, "record", d.records())
	completeFlag(cmd, "clear", fixed(append(fieldWords(recordSchemas()...), notesWord)...))
	completeFlag(cmd, "record-type", fixed(recordTypeNames()...))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return updateRecord(ctx, c, o) })
}

func (c *call) recordToUpdate(ctx context.Context, name string) (pam.Record, error) {
	head, err := c.find(ctx, name)
	if errors.Is(err, pam.ErrNotFound) {
		return pam.Record{}, pam.Errorf(pam.ErrNotFound, `Record "%s" not found.`, name).WithHint("%s", listHint)
	}
	if err != nil {
		return pam.Record{}, err
	}
	return c.vault.Record(ctx, head.UID)
}

func updateRecord(ctx context.Context, c *call, o recordUpdateOptions) (output.View, error) {
	r, err := c.recordToUpdate(ctx, o.record)
	if err != nil {
		return output.View{}, err
	}
	if err := o.apply(&r); err != nil {
		return output.View{}, err
	}
	schema, err := schemaOf(string(r.Type))
	if err != nil {
		schema = recordSchema{Type: r.Type} // a type of a newer program: its fields are custom here
	}
	changes, err := c.fields(ctx, schema, c.args)
	if err != nil {
		return output.View{}, err
	}
	for _, f := range changes {
		r.Fields = merged(r.Fields, f)
	}
	gone, err := o.cleared(schema, &r)
	if err != nil {
		return output.View{}, err
	}
	if err := checkRecord(r); err != nil {
		return output.View{}, err
	}
	if err := c.warnOfUse(ctx, r, changes, gone); err != nil {
		return output.View{}, err
	}
	save := c.vault.UpdateRecord
	if r.Type == pam.TypeUser && slices.Contains(gone, fieldSpec{Type: "password"}) {
		save = c.vault.RemovePassword
	}
	return shownIf(save(ctx, r), uidView(r.UID))
}

// cleared takes fields out of a record and returns them. A name that neither the
// record nor its type has is a slip of the hand, and changes nothing.
func (o recordUpdateOptions) cleared(schema recordSchema, r *pam.Record) ([]fieldSpec, error) {
	var gone []fieldSpec
	for _, name := range o.clear {
		if strings.EqualFold(name, notesWord) {
			r.Notes = ""
			continue
		}
		a, err := ParseAssignment(name + "=")
		if err != nil {
			return nil, err
		}
		spec := fieldSpec{a.Type, a.Label}
		same := func(f pam.Field) bool {
			return strings.EqualFold(f.Type, spec.Type) && strings.EqualFold(f.Label, spec.Label)
		}
		_, defined := schema.defines(spec.Type, spec.Label)
		if !defined && !slices.ContainsFunc(r.Fields, same) {
			return nil, usagef("record %s has no field %s; nothing changed", titled(r.Title, r.UID), spec).
				WithHint("it has %s", strings.Join(append(fieldsOf(*r), notesWord), ", "))
		}
		r.Fields = slices.DeleteFunc(r.Fields, same)
		if strings.EqualFold(spec.String(), "password") {
			spec = fieldSpec{Type: "password"}
		}
		gone = append(gone, spec)
	}
	return gone, nil
}

// fieldsOf are the fields of a record as they are written on a command line.
func fieldsOf(r pam.Record) []string {
	var names []string
	for _, f := range r.Fields {
		names = append(names, fieldSpec{f.Type, f.Label}.String())
	}
	return names
}

func (o recordUpdateOptions) apply(r *pam.Record) error {
	if o.given("title") && strings.TrimSpace(o.title) == "" {
		return usagef("a record cannot be without a title; nothing changed")
	}
	if o.title != "" {
		r.Title = o.title
	}
	if added, ok := strings.CutPrefix(o.notes, "+"); ok {
		r.Notes = strings.TrimPrefix(r.Notes+"\n"+added, "\n")
	} else if o.given("notes") {
		r.Notes = o.notes
	}
	if o.recordType == "" {
		return nil
	}
	schema, err := schemaOf(o.recordType)
	if err != nil {
		return err
	}
	r.Type = schema.Type
	return nil
}

// merged returns fields with f in place of the field of its type and label; an
// empty f removes that one.
func merged(fields []pam.Field, f pam.Field) []pam.Field {
	var out []pam.Field
	placed := false
	for _, old := range fields {
		same := strings.EqualFold(old.Type, f.Type) && strings.EqualFold(old.Label, f.Label)
		switch {
		case !same:
			out = append(out, old)
		case !placed && !empty(f):
			f.Custom = old.Custom
			out, placed = append(out, f), true
		}
	}
	if !placed && !empty(f) {
		out = append(out, f)
	}
	return out
}
