package commands

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

const (
	masked     = "********"
	labelWidth = 20
)

func newGet(d *Deps) *cobra.Command {
	o := revealOptions{}
	cmd := &cobra.Command{
		Use:     "get RECORD",
		Aliases: []string{"g"},
		Short:   "Show a record",
		Long: `Show a record: by UID, title or path. Secrets are masked, in JSON too, unless
--unmask is given; what is revealed is written to the audit trail first.
--format password shows the password alone, --format fields the fields as JSON.`,
		Example: "  keyturn get SRV1\n  keyturn get svc_app --format json\n  keyturn get svc_app --unmask",
		Args:    positional("RECORD"), Annotations: notes(annotNeeds, needVault, annotFormats, "detail password fields"),
	}
	o.add(cmd)
	cmd.ValidArgsFunction = first(d.records())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		r, folder, err := c.vault.Look(ctx, c.args[0], c.Session.Folder)
		if errors.Is(err, pam.ErrNotFound) {
			return output.View{}, pam.Errorf(pam.ErrNotFound, "get: Cannot find any object with UID: %s", c.args[0]).
				WithHint(`"keyturn ls -l -R" shows every record with its UID`)
		}
		if err != nil {
			return output.View{}, err
		}
		show, err := o.shower(ctx, c, r, "")
		if err != nil {
			return output.View{}, err
		}
		return styledRecord(c.style, r, folder, show)
	})
}

// revealOptions say whether secrets are shown.
type revealOptions struct{ unmask bool }

func (o *revealOptions) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.unmask, "unmask", false, "show secrets; this is audited")
}

// shower returns what stands for a secret of r: a mask, or the secret itself when
// it was asked for. Then it is written down first which secrets are about to be
// shown, and where they are from; if that fails nothing is shown.
func (o revealOptions) shower(ctx context.Context, c *call, r pam.Record, from string) (func(pam.Field) string, error) {
	if !o.unmask {
		return func(pam.Field) string { return masked }, nil
	}
	for _, f := range r.Fields {
		if !f.Hides() {
			continue
		}
		if err := c.vault.AuditReveal(ctx, r.UID, fieldSpec{f.Type, f.Label}.String()+from); err != nil {
			return nil, err
		}
	}
	return revealed, nil
}

// revealed shows a secret to who asked for it.
func revealed(f pam.Field) string { return string(f.Secret.Reveal()) }

// styledRecord shows a record in one of Commander's formats.
func styledRecord(style string, r pam.Record, folder string, show func(pam.Field) string) (output.View, error) {
	switch style {
	case "password":
		f := r.Field("password", "")
		if f == nil || f.Secret.IsZero() {
			return output.View{}, pam.Errorf(pam.ErrNotFound, "record %s has no password", titled(r.Title, r.UID))
		}
		v := messageView(show(*f), nil)
		v.Value = show(*f)
		return v, nil
	case "fields":
		fields := []namedValue{{"title", r.Title}, {"record_uid", string(r.UID)}, {"type", string(r.Type)}, {"folder", folder}}
		for _, f := range r.Fields {
			text, _ := fieldText(f, show)
			fields = append(fields, namedValue{fieldSpec{f.Type, f.Label}.String(), text})
		}
		text, err := output.Marshal(append(fields, namedValue{"notes", r.Notes}))
		return output.View{Before: strings.Split(strings.TrimRight(string(text), "\n"), "\n")}, err
	}
	return recordView(r, folder, show), nil
}

type namedValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type fieldDocument struct {
	Type   string `json:"type"`
	Label  string `json:"label,omitempty"`
	Custom bool   `json:"custom,omitempty"`
	Value  []any  `json:"value"`
}

type recordDocument struct {
	UID      pam.UID         `json:"record_uid"`
	Type     pam.RecordType  `json:"type"`
	Title    string          `json:"title"`
	Folder   string          `json:"folder"`
	Notes    string          `json:"notes,omitempty"`
	Fields   []fieldDocument `json:"fields"`
	Revision int64           `json:"revision"`
	Created  string          `json:"created"`
	Modified string          `json:"modified"`
	// Unverified is that of [pam.Record].
	Unverified bool `json:"password_unverified,omitempty"`
}

// unverified is what is said of a password that was not proven: an older vault was
// accepted, a vault was salvaged, or nobody may log on to try it.
const unverified = "not verified: it may not be the password in force"

// recordView shows a record; show says what stands for a secret.
func recordView(r pam.Record, folder string, show func(pam.Field) string) output.View {
	doc := recordDocument{
		UID: r.UID, Type: r.Type, Title: r.Title, Folder: folder, Notes: r.Notes, Fields: []fieldDocument{},
		Revision: r.Revision, Created: timestamp(r.Created), Modified: timestamp(r.Modified), Unverified: r.Unverified,
	}
	pairs := []string{"UID", string(r.UID), "Type", string(r.Type), "Title", r.Title, "Folder", folder}
	t := output.Table{Header: []string{"field", "value"}}
	for _, f := range r.Fields {
		text, values := fieldText(f, show)
		doc.Fields = append(doc.Fields, fieldDocument{f.Type, f.Label, f.Custom, values})
		pairs = append(pairs, fieldLabel(f), text)
		t.Rows = append(t.Rows, []string{fieldSpec{f.Type, f.Label}.String(), text})
	}
	if r.Unverified {
		pairs = append(pairs, "Password State", unverified)
	}
	if r.Notes != "" {
		pairs = append(pairs, "Notes", r.Notes)
	}
	return output.View{Before: labelled(labelWidth, pairs...), CSV: &t, Document: doc}
}

func fieldText(f pam.Field, show func(pam.Field) string) (text string, values []any) {
	switch {
	case !f.Secret.IsZero():
		text = show(f)
		return text, []any{text}
	case len(f.Parts) > 0:
		parts := shownParts(f, show)
		return partsText(parts), []any{parts}
	default:
		values = []any{}
		for _, v := range f.Values {
			values = append(values, v)
		}
		return strings.Join(f.Values, ", "), values
	}
}

// shownParts are the parts of a field, with what show says for secret ones.
func shownParts(f pam.Field, show func(pam.Field) string) map[string]string {
	if !f.Hides() {
		return f.Parts
	}
	parts := maps.Clone(f.Parts)
	for _, name := range pam.SecretParts {
		if text := parts[name]; text != "" {
			one := pam.Field{Type: f.Type, Label: f.Label, Secret: secret.New([]byte(text))}
			parts[name] = show(one)
			one.Secret.Destroy()
		}
	}
	return parts
}

func partsText(parts map[string]string) string {
	if host, ok := parts["hostName"]; ok && parts["port"] != "" {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return host + ":" + parts["port"]
	} else if ok {
		return host
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		words = append(words, name+"="+parts[name])
	}
	return strings.Join(words, " ")
}

// fieldLabel is how a field is named for people: "Password", "operatingSystem".
func fieldLabel(f pam.Field) string {
	if f.Label != "" {
		return f.Label
	}
	return strings.ToUpper(f.Type[:1]) + f.Type[1:]
}
