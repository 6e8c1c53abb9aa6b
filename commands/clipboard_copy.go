package commands

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// Where a copied value goes.
const (
	toClipboard = "clipboard"
	toStdout    = "stdout"
	toVariable  = "variable"
)

type copyOptions struct {
	name, field      string
	login, uid, find bool
	totp             bool
}

func newClipboardCopy(d *Deps) *cobra.Command {
	o := copyOptions{}
	cmd := &cobra.Command{
		Use:     "clipboard-copy RECORD",
		Aliases: []string{"cc"},
		Short:   "Copy a record's password to the clipboard",
		Long: `Copy the password of a record, or another field of it, to the clipboard, by the
tool that this computer has for that: wl-copy, xclip, xsel, pbcopy or clip.
--output stdout prints it, --output variable sets a variable for later lines of
a shell or batch: ${NAME}. It is written to the audit trail first.`,
		Example: "  keyturn clipboard-copy svc_app\n  keyturn cc --field text.instanceId --output stdout SRV1",
		Args:    positional("RECORD"),
		Annotations: notes(annotNeeds, needVault, annotTargets, toClipboard+" "+toStdout+" "+toVariable,
			annotShort, "cu=copy-uid"),
	}
	cmd.Flags().StringVar(&o.name, "name", "", "the variable to set with --output variable: `NAME`")
	cmd.Flags().BoolVarP(&o.totp, "totp", "t", false, "copy the one-time code of now")
	cmd.Flags().BoolVar(&o.uid, "copy-uid", false, "copy the record's UID (short: -cu)")
	return d.copyLeaf(cmd, &o)
}

func newFindPassword(d *Deps) *cobra.Command {
	o := copyOptions{find: true}
	cmd := &cobra.Command{
		Use:   "find-password RECORD",
		Short: "Print a record's password",
		Long: `Print the password of a record, or another field of it, and nothing else, for
scripts. It is written to the audit trail first.`,
		Example: "  keyturn find-password svc_app\n  keyturn find-password --login svc_app",
		Args:    positional("RECORD"), Annotations: notes(annotNeeds, needVault),
	}
	return d.copyLeaf(cmd, &o)
}

func (d *Deps) copyLeaf(cmd *cobra.Command, o *copyOptions) *cobra.Command {
	cmd.Flags().BoolVarP(&o.login, "login", "l", false, "the login, not the password")
	cmd.Flags().StringVar(&o.field, "field", "", "another field: `TYPE[.LABEL]`")
	cmd.ValidArgsFunction = first(d.records())
	return d.copying(cmd, o)
}

func (d *Deps) copying(cmd *cobra.Command, o *copyOptions) *cobra.Command {
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return copyValue(ctx, c, *o) })
}

func copyValue(ctx context.Context, c *call, o copyOptions) (output.View, error) {
	if c.target == toVariable && o.name == "" {
		return output.View{}, usagef("--output variable needs --name NAME")
	}
	head, err := c.find(ctx, c.args[0])
	if err != nil {
		return output.View{}, err
	}
	r, err := c.vault.Record(ctx, head.UID)
	if err != nil {
		return output.View{}, err
	}
	what, value, err := o.value(r, c.Now())
	if err != nil {
		return output.View{}, err
	}
	if what.isSecret {
		if err := c.vault.AuditReveal(ctx, r.UID, what.name); err != nil {
			return output.View{}, err
		}
	}
	return c.copyTo(ctx, o, r, what, value)
}

// copyTo hands a value to where it goes.
func (c *call) copyTo(ctx context.Context, o copyOptions, r pam.Record, what copied, value secret.Value) (output.View, error) {
	facts := map[string]any{"record_uid": r.UID, "field": what.name}
	switch {
	case o.find || c.target == toStdout:
		facts["value"] = string(value.Reveal())
		return output.View{
			Before: []string{string(value.Reveal())}, Document: facts,
			CSV: &output.Table{Header: []string{"value"}, Rows: [][]string{{string(value.Reveal())}}},
		}, nil
	case c.target == toVariable:
		if err := c.Session.set(o.name, value); err != nil {
			return output.View{}, err
		}
		facts["variable"] = o.name
		return messageView("Variable "+o.name+" is set to the "+what.name+" of "+titled(r.Title, r.UID)+".", facts), nil
	}
	if c.Clipboard == nil {
		return output.View{}, pam.Errorf(pam.ErrInternal, "this build has no clipboard; nothing was copied")
	}
	return shownIf(c.Clipboard(ctx, value), messageView("Copied to the clipboard: the "+what.name+" of "+titled(r.Title, r.UID)+".", facts))
}

// A copied is what a value is called.
type copied struct {
	name     string
	isSecret bool
}

// value returns what is to be copied of a record.
func (o copyOptions) value(r pam.Record, now time.Time) (copied, secret.Value, error) {
	spec := fieldSpec{Type: "password"}
	switch {
	case o.totp:
		code, err := oneTimeCode(r, now)
		return copied{name: "one-time code", isSecret: true}, code, err
	case o.uid:
		return copied{name: "UID"}, secret.Copy([]byte(r.UID)), nil
	case o.login:
		spec.Type = "login"
	case o.field != "":
		spec.Type, spec.Label, _ = strings.Cut(o.field, ".")
	}
	f := r.Field(spec.Type, spec.Label)
	if f == nil && spec.Label == "" {
		// A custom field is known to people by its label alone.
		for i := range r.Fields {
			if strings.EqualFold(r.Fields[i].Label, spec.Type) {
				f = &r.Fields[i]
			}
		}
	}
	if f == nil || empty(*f) {
		return copied{}, secret.Value{}, pam.Errorf(pam.ErrNotFound, "record %s has no %s", titled(r.Title, r.UID), spec).
			WithHint("keyturn get %s", r.UID)
	}
	name := fieldSpec{f.Type, f.Label}.String()
	if !f.Secret.IsZero() {
		return copied{name, true}, f.Secret, nil
	}
	text, _ := fieldText(*f, revealed)
	return copied{name, f.Hides()}, secret.Copy([]byte(text)), nil
}
