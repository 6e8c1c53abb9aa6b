package commands

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type recordUpdateOptions struct {
	record, title, recordType, notes string
	force                            bool
}

func newRecordUpdate(d *Deps) *cobra.Command {
	o := recordUpdateOptions{}
	cmd := &cobra.Command{
		Use:     "record-update FIELD=VALUE...",
		Aliases: []string{"ru"},
		Short:   "Change a record",
		Long: `Change the title, type, notes or fields of a record; "record-add --help" says how
fields are written. An empty value removes a field; password= asks for one.

A changed password of a pamUser becomes the account's current password here; it
is not sent anywhere. While a job holds the account it is refused.`,
		Example: `  keyturn record-update -r SRV1 pamHostname=srv1.lab.example:5986
  keyturn record-update -r svc_app password=@svc_app.password`,
		Annotations: notes(annotNeeds, needVault, annotRequired, "record", annotShort, "rt=record-type"),
	}
	f := cmd.Flags()
	f.StringVarP(&o.record, "record", "r", "", "the record: `UID`, title or path")
	f.StringVarP(&o.title, "title", "t", "", "the new `title`")
	f.StringVar(&o.recordType, "record-type", "", "the new `type` (short: -rt): "+strings.Join(recordTypeNames(), ", "))
	f.StringVarP(&o.notes, "notes", "n", "", "notes: `text`; a leading + adds to what is there")
	f.BoolVarP(&o.force, "force", "f", false, "accepted for Commander's sake: nothing is asked")
	completeFlag(cmd, "record", d.records())
	completeFlag(cmd, "record-type", fixed(recordTypeNames()...))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return updateRecord(ctx, c, o) })
}

func updateRecord(ctx context.Context, c *call, o recordUpdateOptions) (output.View, error) {
	head, err := c.find(ctx, o.record)
	if errors.Is(err, pam.ErrNotFound) {
		return output.View{}, pam.Errorf(pam.ErrNotFound, `Record "%s" not found.`, o.record).WithHint("%s", listHint)
	}
	if err != nil {
		return output.View{}, err
	}
	r, err := c.vault.Record(ctx, head.UID)
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
	if err := checkRecord(r); err != nil {
		return output.View{}, err
	}
	return shownIf(c.vault.UpdateRecord(ctx, r), uidView(r.UID))
}

func (o recordUpdateOptions) apply(r *pam.Record) error {
	if o.title != "" {
		r.Title = o.title
	}
	if added, ok := strings.CutPrefix(o.notes, "+"); ok {
		r.Notes = strings.TrimPrefix(r.Notes+"\n"+added, "\n")
	} else if o.notes != "" {
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
