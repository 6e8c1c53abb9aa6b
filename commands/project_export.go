package commands

import (
	"context"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"keyturn/commands/exchange"
	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type projectExportOptions struct {
	project string
	force   bool
}

func newProjectExport(d *Deps) *cobra.Command {
	o := projectExportOptions{}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export a PAM project",
		Long: `Write a project as a JSON file that "pam project import" reads: its
configuration, records with their passwords as plain text, settings and
mappings. The same project gives the same file. It asks first; without a
terminal it needs --force, which also replaces a file. What refers to records of
other places is noted and left out.`,
		Example:     "  keyturn pam project export -p \"Project 1\" --output project.json",
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault, annotRequired, "project-uid", annotTargets, targetFile),
	}
	f := cmd.Flags()
	f.StringVarP(&o.project, "project-uid", "p", "", "the project: `UID` of its folder or configuration, or its name")
	f.BoolVar(&o.force, "force", false, "do not ask, and replace a file that is there")
	completeFlag(cmd, "project-uid", d.configurations())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return exportProject(ctx, c, o) })
}

func exportProject(ctx context.Context, c *call, o projectExportOptions) (output.View, error) {
	there, err := c.findProject(ctx, o.project)
	if err != nil {
		return output.View{}, err
	}
	name := c.target
	if name == fromStdin {
		name = ""
	}
	to, err := c.destination("export", name)
	if err != nil {
		return output.View{}, err
	}
	defer to.abandon()
	if err := (exportOptions{force: o.force}).allowed(ctx, c, name, output.FormatJSON); err != nil {
		return output.View{}, err
	}
	x := projectExporter{call: c, there: there, index: map[pam.UID]int{}}
	defer func() { x.out.File().Destroy() }()
	if err := x.gather(ctx); err != nil {
		return output.View{}, err
	}
	write := func(w io.Writer, _ []exchange.Entry) error { return exchange.WriteProject(w, x.out, c.Version) }
	if err := to.export(write, nil); err != nil {
		return output.View{}, pam.Errorf(pam.ErrIO, "export: %w", err)
	}
	for _, n := range x.out.Notes {
		c.sayf("note: %s", n)
	}
	if name == "" {
		return output.View{}, nil
	}
	text := "Project " + strconv.Quote(there.name) + " with " + strconv.Itoa(len(x.out.Records)) + " record(s) exported to " + name + "."
	return messageView(text, nil), nil
}

// A projectExporter gathers a project.
type projectExporter struct {
	*call
	there projectThere
	out   exchange.Project
	index map[pam.UID]int // of the project's records
}

func (x *projectExporter) notef(record exchange.ProjectRecord, what string) {
	x.out.Notes = append(x.out.Notes, strconv.Quote(record.Record.Title)+": "+what+" is not in the project and is left out")
}

func (x *projectExporter) gather(ctx context.Context) error {
	if err := x.records(ctx); err != nil {
		return err
	}
	cfg := x.there.configuration
	x.out.Name = x.there.name
	x.out.Configuration = exchange.ProjectConfiguration{Title: cfg.Title, Environment: cfg.Environment}
	gateways, err := x.vault.Gateways(ctx)
	if err != nil {
		return err
	}
	for _, g := range gateways {
		if g.UID == cfg.Gateway {
			x.out.Configuration.Gateway = g.Name
		}
	}
	if cfg.Admin != "" {
		var ok bool
		if x.out.Configuration.Admin, ok = x.ref(cfg.Admin); !ok {
			x.out.Notes = append(x.out.Notes, "the configuration's admin is not in the project and is left out")
		}
	}
	for i := range x.out.Records {
		if err := x.settings(ctx, i); err != nil {
			return err
		}
	}
	return x.services(ctx)
}

// records reads the project's records, resources first.
func (x *projectExporter) records(ctx context.Context) error {
	heads, err := x.vault.Heads(ctx)
	if err != nil {
		return err
	}
	if heads, err = x.headsBelow(ctx, heads, x.there.folder); err != nil {
		return err
	}
	paths, err := x.folderPaths(ctx)
	if err != nil {
		return err
	}
	if err := x.vault.AuditExport(ctx, x.there.folder, "a project", len(heads)); err != nil {
		return err
	}
	base := pam.SplitPath(paths[x.there.folder])
	var resources, users []exchange.ProjectRecord
	for _, h := range heads {
		r := exchange.ProjectRecord{Entry: exchange.Entry{Record: pam.Record{Head: h}}, Resource: isResource(h.Type), Parent: -1}
		names := pam.SplitPath(paths[h.Folder])
		for suffix, resource := range map[string]bool{resourcesSuffix: true, usersSuffix: false} {
			top := append(slices.Clip(base), x.there.name+suffix)
			if len(names) >= len(top) && slices.Equal(names[:len(top)], top) {
				r.Resource = resource
				r.Folder = names[len(top):]
			}
		}
		if r.Resource {
			resources = append(resources, r)
		} else {
			users = append(users, r)
		}
	}
	x.out.Records = append(resources, users...)
	uids := make([]pam.UID, len(x.out.Records))
	for i, r := range x.out.Records {
		uids[i] = r.Record.UID
		x.index[uids[i]] = i
	}
	records, err := x.vault.Records(ctx, uids)
	for i, r := range records {
		x.out.Records[i].Record = r
		x.out.Records[i].Place = "record " + strconv.Itoa(i+1)
	}
	return err
}

// ref is how the file names a record of the project: its title, or its UID where
// others have that title.
func (x *projectExporter) ref(uid pam.UID) (string, bool) {
	at, ok := x.index[uid]
	if !ok {
		return "", false
	}
	title := x.out.Records[at].Record.Title
	for i, r := range x.out.Records {
		if i != at && (r.Record.Title == title || string(r.Record.UID) == title) {
			return string(uid), true
		}
	}
	return title, true
}

// settings gathers what the vault keeps beside a record.
func (x *projectExporter) settings(ctx context.Context, i int) error {
	r := &x.out.Records[i]
	s, err := x.vault.ResourceSettings(ctx, r.Record.UID)
	if err != nil {
		return err
	}
	r.Disabled = s.Disabled
	if s.Admin != "" {
		var ok bool
		if r.Admin, ok = x.ref(s.Admin); !ok {
			x.notef(*r, "its admin")
		}
	}
	rotation, ok, err := x.vault.Rotation(ctx, r.Record.UID)
	if err != nil || !ok {
		return err
	}
	resource, ok := x.ref(rotation.Resource)
	if !ok {
		x.notef(*r, "the resource of its rotation settings")
		return nil
	}
	r.Rotation = &exchange.ProjectRotation{Resource: resource, Enabled: "on", Complexity: rotation.Complexity, Policy: rotation.Policy}
	if !rotation.Enabled {
		r.Rotation.Enabled = "off"
	}
	if at := x.index[rotation.Resource]; !r.Resource && x.out.Records[at].Resource {
		r.Parent, r.Rotation.Resource = at, ""
	}
	return nil
}

// services gathers the mappings of the project's machines.
func (x *projectExporter) services(ctx context.Context) error {
	mappings, err := x.vault.AllMappings(ctx)
	if err != nil {
		return err
	}
	for _, m := range mappings {
		i, ours := x.index[m.Machine]
		if !ours {
			continue
		}
		r := &x.out.Records[i]
		user, ok := x.ref(m.User)
		if !ok {
			x.notef(*r, "a user of its services")
			continue
		}
		r.Services = append(r.Services, exchange.ProjectService{User: user, Kinds: m.Kinds})
	}
	return nil
}
