package commands

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"keyturn/commands/exchange"
	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

func newProject(d *Deps) *cobra.Command {
	return group(&cobra.Command{
		Use: "project", Aliases: []string{"p"}, Short: "PAM Project Import/Export",
	}, newProjectImport(d), newProjectExtend(d), newProjectExport(d))
}

// Where projects lie, as in Commander: a folder for each, and in it one for its
// resources and one for its users.
const (
	projectsFolder  = "PAM Environments"
	resourcesSuffix = " - Resources"
	usersSuffix     = " - Users"
)

// A projectPlan is a project file with everything in it looked up.
type projectPlan struct {
	file          exchange.Project
	entries       exchange.File
	name          string            // of the project
	configuration pam.Configuration // with its UID
	isNew         bool              // whether the configuration is to be made
	gateway       string            // the name of the gateway
	existing      []pam.Head        // the records of the project that are there already
	heads         []pam.Head        // every record of the vault
	uids          []pam.UID         // of each record of the file
	parts         vault.Project
}

// readProject reads a project file and brings its records in order.
func (c *call) readProject(ctx context.Context, name string) (*projectPlan, error) {
	if name == "" {
		return nil, usagef("the following arguments are required: --filename/-f").WithHint("keyturn pam project import -f project.json")
	}
	data, err := c.importData(ctx, name)
	defer clear(data)
	if err != nil {
		return nil, err
	}
	p := &projectPlan{}
	if p.file, err = exchange.ReadProject(data); err != nil {
		return nil, importFault(name, err)
	}
	p.entries = p.file.File()
	if p.parts.Records, err = prepareImport(p.entries); err != nil {
		p.entries.Destroy()
		return nil, importFault(name, err)
	}
	for i := range p.entries.Entries {
		p.file.Records[i].Entry = p.entries.Entries[i]
	}
	return p, nil
}

// place gives every record its UID and its folder.
func (p *projectPlan) place(d *Deps) error {
	seen := map[pam.UID]bool{}
	for i := range p.file.Records {
		r := &p.file.Records[i]
		uid := r.Record.UID
		if !pam.IsUID(string(uid)) {
			var err error
			if uid, err = p.twin(d, r.Record); err != nil {
				return err
			}
		}
		if seen[uid] {
			return r.Fault("uid", "%s is another record's of this file too", uid)
		}
		seen[uid] = true
		p.uids = append(p.uids, uid)
		suffix := usersSuffix
		if r.Resource {
			suffix = resourcesSuffix
		}
		in := &p.parts.Records[i]
		in.Record.UID = uid
		in.Folder = append([]string{projectsFolder, p.name, p.name + suffix}, r.Folder...)
	}
	return nil
}

// twin is the UID of a record without one: that of the project's record of the
// same type and title, else a new one.
func (p *projectPlan) twin(d *Deps, r pam.Record) (pam.UID, error) {
	for _, h := range p.existing {
		if h.Type == r.Type && h.Title == r.Title {
			return h.UID, nil
		}
	}
	return pam.NewUID(d.Random)
}

// isResource reports whether a record of that type can decide a password.
func isResource(t pam.RecordType) bool { return t == pam.TypeMachine || t == pam.TypeDirectory }

// isUser reports whether a record of that type can log in.
func isUser(t pam.RecordType) bool { return t == pam.TypeUser || t == pam.TypeLogin }

// find returns the UID of the record that a file means by a UID or title: one of
// the file, one of the project, or by its UID any other.
func (p *projectPlan) find(name string, fits func(pam.RecordType) bool) (pam.UID, error) {
	var found []pam.UID
	add := func(uid pam.UID, typ pam.RecordType, called bool) {
		if called && fits(typ) && !slices.Contains(found, uid) {
			found = append(found, uid)
		}
	}
	for i, r := range p.file.Records {
		add(p.uids[i], r.Record.Type, r.Record.Title == name || string(p.uids[i]) == name)
	}
	for _, h := range p.existing {
		add(h.UID, h.Type, h.Title == name)
	}
	for _, h := range p.heads {
		add(h.UID, h.Type, string(h.UID) == name)
	}
	switch len(found) {
	case 0:
		return "", pam.Errorf(pam.ErrInvalidInput, "there is no record %q of the right type in the file or the project", name)
	case 1:
		return found[0], nil
	}
	return "", pam.Errorf(pam.ErrInvalidInput, "%d records are called %q: write the uid", len(found), name)
}

// look reads what the vault has of a project already. folder is the project's own;
// "" while there is none.
func (p *projectPlan) look(ctx context.Context, c *call, folder pam.UID) error {
	var err error
	if p.heads, err = c.vault.Heads(ctx); err != nil || folder == "" {
		return err
	}
	p.existing, err = c.headsBelow(ctx, p.heads, folder)
	return err
}

// headsBelow returns the records in a folder and those below it.
func (c *call) headsBelow(ctx context.Context, heads []pam.Head, folder pam.UID) ([]pam.Head, error) {
	in, err := c.below(ctx, folder)
	if err != nil {
		return nil, err
	}
	var below []pam.Head
	for _, h := range heads {
		if in[h.Folder] {
			below = append(below, h)
		}
	}
	return below, nil
}

// make writes the project, or in a dry run only checks it, and shows what was made.
func (p *projectPlan) make(ctx context.Context, c *call, file string, dryRun bool) (output.View, error) {
	actions, err := c.vault.ImportProject(ctx, p.parts, vault.ImportOptions{DryRun: dryRun})
	if at, ok := errors.AsType[*vault.ImportError](err); ok {
		return output.View{}, importErrorAt(file, p.entries, at)
	}
	if err != nil {
		return output.View{}, importFault(file, err)
	}
	return p.view(actions, dryRun), nil
}
