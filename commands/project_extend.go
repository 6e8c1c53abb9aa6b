package commands

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type projectExtendOptions struct {
	config, file string
	dryRun       bool
}

func newProjectExtend(d *Deps) *cobra.Command {
	o := projectExtendOptions{}
	cmd := &cobra.Command{
		Use:     "extend",
		Aliases: []string{"e"},
		Short:   "Add to a PAM project",
		Long: `Add what is in a project file to a project that is there. A record that is there
already, by uid or by type and title, is left as it is, with its settings; the
list "services" adds to what is mapped. The project's configuration stays as it
is.

All of it is added or nothing: a mistake in the file changes nothing.`,
		Example: "  keyturn pam project extend -c \"Project 1 Configuration\" -f more.json --dry-run",
		Args:    positional(), Annotations: notes(annotNeeds, needVault, annotRequired, "config filename"),
	}
	f := cmd.Flags()
	f.StringVarP(&o.config, "config", "c", "", "the project, by its configuration's `UID` or title, or by its name")
	f.StringVarP(&o.file, "filename", "f", "", "the project `FILE`")
	f.BoolVarP(&o.dryRun, "dry-run", "d", false, "check everything and say what would be added, change nothing")
	completeFlag(cmd, "config", d.configurations())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return extendProject(ctx, c, o) })
}

func extendProject(ctx context.Context, c *call, o projectExtendOptions) (output.View, error) {
	there, err := c.findProject(ctx, o.config)
	if err != nil {
		return output.View{}, err
	}
	if there.configuration.UID == "" {
		return output.View{}, pam.Errorf(pam.ErrInvalidInput,
			"project %q has no configuration: none of its resources names one; nothing changed", there.name)
	}
	p, err := c.readProject(ctx, o.file)
	if err != nil {
		return output.View{}, err
	}
	defer p.entries.Destroy()
	p.name, p.configuration = there.name, there.configuration
	err = p.look(ctx, c, there.folder)
	if err == nil {
		err = p.place(c.Deps)
	}
	if err == nil {
		err = p.connect(ctx, c)
	}
	if err != nil {
		return output.View{}, importFault(o.file, err)
	}
	return p.make(ctx, c, o.file, o.dryRun)
}

// A projectThere is a project of the vault: a folder of the projects' one, and
// the configuration of the resources in it.
type projectThere struct {
	folder        pam.UID
	name          string
	configuration pam.Configuration // the zero one while there is none
}

// findProject finds a project by its folder's UID or its name, else by the UID or
// title of its configuration.
func (c *call) findProject(ctx context.Context, name string) (projectThere, error) {
	all, err := c.projects(ctx)
	if err != nil {
		return projectThere{}, err
	}
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return projectThere{}, err
	}
	configurations, err := c.vault.Configurations(ctx)
	if err != nil {
		return projectThere{}, err
	}
	for _, p := range all { // names are unique in their folder
		if string(p.folder) == name || strings.EqualFold(p.name, name) {
			p.configuration, err = c.configurationWithin(ctx, p, heads, configurations)
			return p, err
		}
	}
	var found []projectThere
	for _, p := range all {
		if p.configuration, err = c.configurationWithin(ctx, p, heads, configurations); err != nil {
			return projectThere{}, err
		}
		if string(p.configuration.UID) == name || strings.EqualFold(p.configuration.Title, name) {
			found = append(found, p)
		}
	}
	return onlyProject(found, name)
}

func onlyProject(found []projectThere, name string) (projectThere, error) {
	switch len(found) {
	case 0:
		return projectThere{}, pam.Errorf(pam.ErrNotFound, "there is no project %q in /%s", name, projectsFolder).
			WithHint("keyturn pam project import makes one")
	case 1:
		return found[0], nil
	}
	return projectThere{}, pam.Errorf(pam.ErrAmbiguous, "%d projects have configuration %q", len(found), name).
		WithHint("use the project's name, %q for one", found[0].name)
}

// projects returns the projects there are, without their configurations.
func (c *call) projects(ctx context.Context) ([]projectThere, error) {
	root, err := c.vault.FindFolder(ctx, "/"+projectsFolder, "")
	if errors.Is(err, pam.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	folders, err := c.vault.Folders(ctx)
	var found []projectThere
	for _, f := range folders {
		if f.Parent == root {
			found = append(found, projectThere{folder: f.UID, name: f.Name})
		}
	}
	return found, err
}

// configurationWithin is the configuration of a project's resources: that of most
// of them; of a project without any, the one that carries its name.
func (c *call) configurationWithin(
	ctx context.Context, p projectThere, heads []pam.Head, all []pam.Configuration,
) (pam.Configuration, error) {
	below, err := c.headsBelow(ctx, heads, p.folder)
	if err != nil {
		return pam.Configuration{}, err
	}
	votes := map[pam.UID]int{}
	for _, h := range below {
		if !isResource(h.Type) {
			continue
		}
		s, err := c.vault.ResourceSettings(ctx, h.UID)
		if err != nil {
			return pam.Configuration{}, err
		}
		votes[s.Configuration]++
	}
	best := pam.Configuration{}
	for _, cfg := range all {
		if votes[cfg.UID] > votes[best.UID] || best.UID == "" && len(votes) == 0 && strings.EqualFold(cfg.Title, p.name+" Configuration") {
			best = cfg
		}
	}
	return best, nil
}
