package commands

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type projectImportOptions struct {
	name, file       string
	dryRun, template bool
}

func newProjectImport(d *Deps) *cobra.Command {
	o := projectImportOptions{}
	cmd := &cobra.Command{
		Use:     "import",
		Aliases: []string{"i"},
		Short:   "Import a PAM project",
		Long: `Make a project of a JSON file in Keeper Commander's shape: its configuration
and gateway, machines and directories, users, how their passwords are rotated
and, by the list "services" of a machine, what runs there as them. Records go
into /` + projectsFolder + `/PROJECT, and name one another by title or uid.

All of it is made or nothing: a mistake in the file changes nothing, and is
reported with its entry and field. What is only about Commander's cloud,
sessions and schedules is noted and left out; members that nobody knows are kept
as fields.
--show-template prints a file to begin with.`,
		Example: "  keyturn pam project import --show-template\n  keyturn pam project import -f project.json --dry-run",
		Args:    positional(), Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.StringVarP(&o.name, "name", "n", "", "the project's `name` (default: the file's); its configuration is named after it")
	f.StringVarP(&o.file, "filename", "f", "", "the project `FILE`")
	f.BoolVarP(&o.dryRun, "dry-run", "d", false, "check everything and say what would be made, change nothing")
	f.BoolVarP(&o.template, "show-template", "t", false, "print a project file to begin with, and do nothing else")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if o.template {
			v := textView(strings.TrimSuffix(projectTemplate, "\n"))
			v.Document = json.RawMessage(projectTemplate)
			return v, nil
		}
		return importProject(ctx, c, o)
	})
}

func importProject(ctx context.Context, c *call, o projectImportOptions) (output.View, error) {
	p, err := c.readProject(ctx, o.file)
	if err != nil {
		return output.View{}, err
	}
	defer p.entries.Destroy()
	p.name = p.file.Name
	if o.name != "" && o.name != p.name {
		p.name, p.file.Configuration.Title = o.name, ""
	}
	if err := p.begin(ctx, c); err != nil {
		return output.View{}, importFault(o.file, err)
	}
	return p.make(ctx, c, o.file, o.dryRun)
}

// begin looks up everything for a project that is not there yet.
func (p *projectPlan) begin(ctx context.Context, c *call) error {
	if strings.TrimSpace(p.name) == "" || strings.Contains(p.name, "/") {
		return pam.Errorf(pam.ErrInvalidInput, `field "project": %q cannot be the name of a project`, p.name).WithHint("--name NAME")
	}
	_, err := c.vault.FindFolder(ctx, "/"+projectsFolder+"/"+p.name, "")
	switch {
	case err == nil:
		return pam.Errorf(pam.ErrConflict, "there is a project %q already", p.name).
			WithHint("keyturn pam project extend adds to it, --name NAME makes another")
	case !errors.Is(err, pam.ErrNotFound):
		return err
	}
	if err := p.look(ctx, c, ""); err != nil {
		return err
	}
	if err := p.newConfiguration(ctx, c); err != nil {
		return err
	}
	if err := p.place(c.Deps); err != nil {
		return err
	}
	for i, uid := range p.uids {
		for _, h := range p.heads {
			if h.UID == uid {
				return pam.Errorf(pam.ErrConflict, "%w", p.file.Records[i].Fault("uid", "record %q has it already", h.Title)).
					WithHint("take the uid out of the file to make another record")
			}
		}
	}
	return p.connect(ctx, c)
}

// projectTemplate is a project file to begin with.
const projectTemplate = `{
  "project": "Project 1",
  "pam_configuration": {
    "environment": "local",
    "title": "Project 1 Configuration",
    "gateway_name": "Embedded",
    "rotation": "on"
  },
  "pam_data": {
    "resources": [
      {
        "type": "pamMachine",
        "title": "DC01",
        "host": "dc01.lab.example",
        "port": "5986",
        "ssl_verification": true,
        "operating_system": "windows",
        "pam_settings": {"connection": {"administrative_credentials": "LAB admin"}},
        "users": [
          {"type": "pamUser", "title": "LAB admin", "login": "LAB\\Administrator", "password": ""},
          {
            "type": "pamUser",
            "title": "svc_app",
            "login": "LAB\\svc_app",
            "password": "",
            "rotation_settings": {
              "rotation": "general",
              "enabled": "on",
              "schedule": {"type": "on-demand"},
              "password_complexity": "24,2,2,2,2"
            }
          }
        ]
      },
      {
        "type": "pamMachine",
        "title": "SRV1",
        "host": "srv1.lab.example",
        "port": "5986",
        "operating_system": "windows",
        "pam_settings": {"connection": {"administrative_credentials": "LAB admin"}},
        "services": [{"user": "svc_app", "types": ["service", "task", "iis"]}]
      }
    ],
    "users": []
  }
}
`
