package commands

import (
	"context"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newConfig(d *Deps) *cobra.Command {
	return group(&cobra.Command{
		Use: "config", Aliases: []string{"c"}, Short: "Manage PAM Configurations",
	}, newConfigList(d), newConfigNew(d), newConfigEdit(d), newConfigRemove(d))
}

// A configRow is a configuration in JSON, with Commander's keys.
type configRow struct {
	UID         pam.UID   `json:"uid"`
	Name        string    `json:"config_name"`
	Type        string    `json:"config_type"`
	GatewayUID  pam.UID   `json:"gateway_uid"`
	GatewayName string    `json:"gateway_name"`
	Resources   []pam.UID `json:"resource_record_uids"`
	AdminUID    pam.UID   `json:"admin_uid,omitempty"`
	AdminTitle  string    `json:"admin_title,omitempty"`
}

func configRows(ctx context.Context, c *call) ([]configRow, error) {
	configs, err := c.vault.Configurations(ctx)
	if err != nil {
		return nil, err
	}
	gateways, err := c.vault.Gateways(ctx)
	if err != nil {
		return nil, err
	}
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return nil, err
	}
	rows := []configRow{}
	for _, cfg := range configs {
		r := configRow{
			UID: cfg.UID, Name: cfg.Title, Type: cfg.Environment, GatewayUID: cfg.Gateway,
			Resources: []pam.UID{}, AdminUID: cfg.Admin, AdminTitle: titleOf(heads, cfg.Admin),
		}
		for _, g := range gateways {
			if g.UID == cfg.Gateway {
				r.GatewayName = g.Name
			}
		}
		if r.Resources, err = c.machinesOf(ctx, cfg, heads); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// oneConfig is a configuration shown alone: the reference calls its name "name"
// there, and has its fields.
type oneConfig struct {
	configRow
	Name   string         `json:"name"`
	Fields map[string]any `json:"fields"`
}

// machinesOf returns the machines that belong to a configuration.
func (c *call) machinesOf(ctx context.Context, cfg pam.Configuration, heads []pam.Head) ([]pam.UID, error) {
	machines := []pam.UID{}
	for _, h := range heads {
		if h.Type != pam.TypeMachine && h.Type != pam.TypeDirectory {
			continue
		}
		s, err := c.vault.ResourceSettings(ctx, h.UID)
		if err != nil {
			return nil, err
		}
		if s.Configuration == cfg.UID {
			machines = append(machines, h.UID)
		}
	}
	return machines, nil
}

func titleOf(heads []pam.Head, uid pam.UID) string {
	for _, h := range heads {
		if h.UID == uid {
			return h.Title
		}
	}
	return ""
}

func newConfigList(d *Deps) *cobra.Command {
	var verbose bool
	var config string
	cmd := &cobra.Command{
		Use:         "list",
		Aliases:     []string{"l"},
		Short:       "List all PAM Configurations",
		Long:        "List the PAM configurations: which gateway reaches which machines, and who logs\nin there.",
		Example:     "  keyturn pam config list\n  keyturn pam config list -c \"Local Network\" --format json",
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().StringVarP(&config, "config", "c", "", "show one configuration: `UID` or title")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the admin too")
	completeFlag(cmd, "config", d.configurations())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		rows, err := configRows(ctx, c)
		if err != nil {
			return output.View{}, err
		}
		if config == "" {
			return configView(rows, verbose, map[string]any{"configurations": rows}), nil
		}
		cfg, err := c.findConfiguration(ctx, config)
		for _, r := range rows {
			if err == nil && r.UID == cfg.UID {
				return configView([]configRow{r}, verbose, oneConfig{r, r.Name, map[string]any{}}), nil
			}
		}
		return output.View{}, err
	})
}

//nolint:revive // verbose is the flag of the command line
func configView(rows []configRow, verbose bool, doc any) output.View {
	t := output.Table{
		Header: []string{"UID", "Config Name", "Config Type", "Gateway UID", "Resource Record UIDs"},
		Prose:  []string{"Resource Record UIDs"},
	}
	if verbose {
		t.Header = append(t.Header, "Admin")
	}
	for _, r := range rows {
		row := []string{string(r.UID), r.Name, r.Type, string(r.GatewayUID), joined(r.Resources)}
		if verbose {
			admin := ""
			if r.AdminUID != "" {
				admin = titled(r.AdminTitle, r.AdminUID)
			}
			row = append(row, admin)
		}
		t.Rows = append(t.Rows, row)
	}
	return output.View{Tables: []output.Table{t}, Document: doc}
}

type configEditOptions struct{ title, environment, gateway, admin string }

// add gives cmd the flags of what a configuration is made of.
func (o *configEditOptions) add(d *Deps, cmd *cobra.Command, title, gateway string) {
	f := cmd.Flags()
	f.StringVarP(&o.title, "title", "t", "", title)
	f.StringVar(&o.environment, "environment", "", "`local` or domain (short: -env)")
	f.StringVarP(&o.gateway, "gateway", "g", "", gateway)
	f.StringVarP(&o.admin, "admin", "a", "", "who logs in to the machines: a pamUser's `UID` or title")
	completeFlag(cmd, "environment", fixed(environmentLocal, environmentDomain))
	completeFlag(cmd, "gateway", d.gateways())
	completeFlag(cmd, "admin", d.records(pam.TypeUser))
}

func newConfigEdit(d *Deps) *cobra.Command {
	o := configEditOptions{}
	cmd := &cobra.Command{
		Use:     "edit CONFIG",
		Aliases: []string{"e"},
		Short:   "Edit a PAM Configuration",
		Long: `Edit a PAM configuration. Its admin logs in to every machine of the
configuration that has no admin of its own.`,
		Example:     "  keyturn pam config edit \"Local Network\" -a \"LAB admin\"",
		Args:        positional("CONFIG"),
		Annotations: notes(annotNeeds, needVault, annotShort, "env=environment"),
	}
	o.add(d, cmd, "the new `title`", "the gateway: `UID` or name")
	cmd.ValidArgsFunction = first(d.configurations())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return editConfig(ctx, c, o) })
}

func editConfig(ctx context.Context, c *call, o configEditOptions) (output.View, error) {
	cfg, err := c.findConfiguration(ctx, c.args[0])
	if err != nil {
		return output.View{}, err
	}
	if o == (configEditOptions{}) {
		return output.View{}, usagef("Nothing to do. Give at least one of --title, --environment, --gateway and --admin")
	}
	if err := o.apply(ctx, c, &cfg); err != nil {
		return output.View{}, err
	}
	return shownIf(c.saveConfiguration(ctx, cfg, o),
		messageView("PAM Configuration "+titled(cfg.Title, cfg.UID)+" has been edited.", map[string]any{"uid": cfg.UID}))
}

func (c *call) saveConfiguration(ctx context.Context, cfg pam.Configuration, o configEditOptions) error {
	err := c.vault.SetConfiguration(ctx, cfg)
	if err != nil || o.admin == "" {
		return err
	}
	return c.warnOwnAdminOf(ctx, cfg)
}
