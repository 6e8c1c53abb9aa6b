package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type recordAddOptions struct {
	title, recordType, notes, folder, config string
	force                                    bool
}

func newRecordAdd(d *Deps) *cobra.Command {
	o := recordAddOptions{}
	cmd := &cobra.Command{
		Use:     "record-add FIELD=VALUE...",
		Aliases: []string{"ra"},
		Short:   "Add a record",
		Long: `Add a record and print its UID.

A field is written [f.|c.]type[.label]=value; c. makes it a custom field, == is
an equal sign in a label, and a value that begins with = has a space before it.
A secret is read from a file (password=@FILE), from standard input
(password=@-), asked on the terminal (password=) or generated (password=$GEN);
@@x is a literal @x. Fields of several parts take part=value lists or JSON:
pamHostname=$JSON:{"hostName":"h","port":"5986"}`,
		Example: `  keyturn record-add -rt pamMachine -t SRV1 \
    pamHostname=srv1.lab.example:5986 text.operatingSystem=windows
  keyturn record-add -rt pamDirectory -t LAB \
    pamHostname=dc01.lab.example c.text.caFile=ca.pem
  keyturn record-add -rt pamUser -t svc_app \
    'login=LAB\svc_app' password=@svc_app.password`,
		Args:        assignments,
		Annotations: notes(annotNeeds, needVault, annotShort, "rt=record-type"),
	}
	f := cmd.Flags()
	f.StringVarP(&o.title, "title", "t", "", "the record's `title`")
	f.StringVar(&o.recordType, "record-type", "", "the record's `type` (short: -rt): "+strings.Join(recordTypeNames(), ", "))
	f.StringVarP(&o.notes, "notes", "n", "", "the record's notes: `text`")
	f.StringVar(&o.folder, "folder", "", "put the record into `FOLDER`: a UID or path (default: the current folder)")
	f.StringVar(&o.config, "pam-config", "", "the PAM configuration of a machine: `UID` or title")
	f.BoolVarP(&o.force, "force", "f", false, "say nothing of a title that another record has")
	f.String("labels", "on", "accepted for Commander's sake: labels are written where they are meant: `on` or off")
	completeFlag(cmd, "record-type", fixed(recordTypeNames()...))
	completeFlag(cmd, "folder", d.folders())
	completeFlag(cmd, "pam-config", d.configurations())
	cmd.ValidArgsFunction = fieldNames
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return addRecord(ctx, c, o) })
}

// fieldNames completes the names of the fields of the type that was chosen.
func fieldNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := schemaOf(cmd.Flag("record-type").Value.String())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := fieldWords(s)
	for i := range names {
		names[i] += "="
	}
	return names, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

func (o recordAddOptions) check() error {
	if o.title == "" {
		return usagef("Title parameter is required.").WithHint("-t TITLE")
	}
	if o.recordType == "" {
		return usagef("Record type parameter is required.").WithHint("-rt TYPE: %s", strings.Join(recordTypeNames(), ", "))
	}
	return nil
}

func addRecord(ctx context.Context, c *call, o recordAddOptions) (output.View, error) {
	if err := o.check(); err != nil {
		return output.View{}, err
	}
	schema, err := schemaOf(o.recordType)
	if err != nil {
		return output.View{}, err
	}
	folder := c.Session.Folder
	if o.folder != "" {
		if folder, err = c.vault.FindFolder(ctx, o.folder, folder); err != nil {
			return output.View{}, err
		}
	}
	config, err := c.configurationOfNew(ctx, schema.Type, o.config)
	if err != nil {
		return output.View{}, err
	}
	r := pam.Record{Head: pam.Head{Type: schema.Type, Title: o.title, Folder: folder}, Notes: o.notes}
	if r.Fields, err = c.fields(ctx, schema, c.args); err != nil {
		return output.View{}, err
	}
	r.Fields = filled(r.Fields)
	if err := checkRecord(r); err != nil {
		return output.View{}, err
	}
	if err := c.warnOfTwins(ctx, o); err != nil {
		return output.View{}, err
	}
	uid, err := c.vault.AddRecord(ctx, r)
	if err != nil {
		return output.View{}, err
	}
	if configured(schema.Type) {
		if config == "" {
			c.newsf("warning: %s belongs to no PAM configuration: there are several, and --pam-config named none", o.title)
			c.newsf("hint: keyturn pam rotation edit -rs %s -c CONFIG", uid)
		}
		err = c.vault.SetResourceSettings(ctx, pam.ResourceSettings{Resource: uid, Configuration: config})
	}
	return uidView(uid), err
}

// warnOfTwins says that a title is taken: a name that two records have is refused
// wherever one is asked for, and only UID or path tell them apart.
func (c *call) warnOfTwins(ctx context.Context, o recordAddOptions) error {
	if o.force {
		return nil
	}
	twins, err := c.vault.Called(ctx, o.title)
	if err == nil && len(twins) > 0 {
		const warning = "warning: there is a record of that title already, %s: name them by UID or path from now on"
		c.newsf(warning, titled(twins[0].Title, twins[0].UID))
	}
	return err
}

// configured reports whether records of a type belong to a configuration.
func configured(typ pam.RecordType) bool { return typ == pam.TypeMachine || typ == pam.TypeDirectory }

// configurationOfNew returns the configuration of a new record. For a type that
// belongs to none nothing is read.
func (c *call) configurationOfNew(ctx context.Context, typ pam.RecordType, name string) (pam.UID, error) {
	if name == "" && !configured(typ) {
		return "", nil
	}
	return c.configurationFor(ctx, name)
}

// configurationFor returns the configuration that a new machine belongs to; ""
// stands for the only one there is.
func (c *call) configurationFor(ctx context.Context, name string) (pam.UID, error) {
	if name != "" {
		cfg, err := c.findConfiguration(ctx, name)
		return cfg.UID, err
	}
	configs, err := c.vault.Configurations(ctx)
	if err != nil || len(configs) != 1 {
		return "", err
	}
	return configs[0].UID, nil
}

// fields reads the field arguments of a command. Two secrets cannot both come
// from standard input.
func (c *call) fields(ctx context.Context, schema recordSchema, args []string) ([]pam.Field, error) {
	var fields []pam.Field
	stdin := 0
	for _, arg := range args {
		a, err := ParseAssignment(arg)
		if err != nil {
			return nil, err
		}
		if a.Value == "@"+fromStdin {
			stdin++
		}
		if stdin > 1 {
			return nil, usagef("only one field can be read from standard input")
		}
		f, err := c.field(ctx, schema, a)
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

func empty(f pam.Field) bool {
	return len(f.Values) == 0 && len(f.Parts) == 0 && f.Secret.IsZero()
}

func filled(fields []pam.Field) []pam.Field {
	var kept []pam.Field
	for _, f := range fields {
		if !empty(f) {
			kept = append(kept, f)
		}
	}
	return kept
}

// checkRecord refuses a machine or directory that could never be connected to,
// while the person who knows better is still there.
func checkRecord(r pam.Record) error {
	if r.Type != pam.TypeMachine && r.Type != pam.TypeDirectory || r.Field("pamHostname", "") == nil {
		return nil
	}
	_, err := pam.MachineOf(r)
	return err
}

func uidView(uid pam.UID) output.View {
	return output.View{
		Before:   []string{string(uid)},
		CSV:      &output.Table{Header: []string{"Record UID"}, Rows: [][]string{{string(uid)}}},
		Document: map[string]any{"record_uid": uid},
	}
}
