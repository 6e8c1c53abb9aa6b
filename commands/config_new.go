package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

const (
	environmentLocal  = "local"
	environmentDomain = "domain"
)

type configNewOptions struct {
	configEditOptions
	folder string
}

func newConfigNew(d *Deps) *cobra.Command {
	o := configNewOptions{}
	cmd := &cobra.Command{
		Use:     "new",
		Aliases: []string{"n"},
		Short:   "Create new PAM Configuration",
		Long: `Make a PAM configuration and print its UID: machines that are logged in to by
one admin, and reached through one gateway. Where a vault has several,
--pam-config of "record-add" says which one a machine belongs to.`,
		Example: `  keyturn pam config new -env domain -t "LAB domain" -a "LAB admin"
  keyturn record-add -rt pamMachine -t SRV5 --pam-config "LAB domain" \
    pamHostname=srv5.lab.example text.operatingSystem=windows`,
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault, annotShort, "env=environment sf=shared-folder"),
	}
	o.add(d, cmd, "the configuration's `title`", "the gateway: `UID` or name; it can be left out where there is only one")
	cmd.Flags().StringVar(&o.folder, "shared-folder", "", "accepted for Commander's sake (short: -sf): configurations are in no `FOLDER`")
	completeFlag(cmd, "shared-folder", d.folders())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return newConfiguration(ctx, c, o) })
}

func newConfiguration(ctx context.Context, c *call, o configNewOptions) (output.View, error) {
	switch {
	case o.environment == "":
		return output.View{}, usagef("--environment parameter is required").WithHint("-env local or -env domain")
	case o.title == "":
		return output.View{}, usagef("--title parameter is required").WithHint("-t TITLE")
	}
	g, err := c.gatewayOf(ctx, gatewayOptions{gateway: o.gateway})
	if err != nil {
		return output.View{}, err
	}
	cfg := pam.Configuration{Gateway: g.UID}
	if err := o.apply(ctx, c, &cfg); err != nil {
		return output.View{}, err
	}
	uid, err := c.vault.AddConfiguration(ctx, cfg)
	return shownIf(err, output.View{
		Before:   []string{string(uid)},
		CSV:      &output.Table{Header: []string{"UID"}, Rows: [][]string{{string(uid)}}},
		Document: map[string]any{"uid": uid, "config_name": cfg.Title, "gateway_uid": cfg.Gateway},
	})
}

// apply puts what was given into a configuration.
func (o configEditOptions) apply(ctx context.Context, c *call, cfg *pam.Configuration) error {
	if o.title != "" {
		cfg.Title = o.title
	}
	if o.environment != "" {
		cfg.Environment = strings.ToLower(o.environment)
	}
	if cfg.Environment != environmentLocal && cfg.Environment != environmentDomain {
		return usagef("--environment: %q is neither local nor domain; nothing changed", o.environment)
	}
	if o.gateway != "" {
		g, err := c.findGateway(ctx, o.gateway)
		if err != nil {
			return err
		}
		cfg.Gateway = g.UID
	}
	if o.admin != "" {
		admin, err := c.findAdmin(ctx, o.admin)
		if err != nil {
			return err
		}
		cfg.Admin = admin.UID
	}
	return nil
}

func newConfigRemove(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove CONFIG",
		Aliases: []string{"rm"},
		Short:   "Remove a PAM Configuration",
		Long: `Remove a PAM configuration that no machine and no user's rotation belongs to.
The last one stays: a vault has at least one.`,
		Example:     "  keyturn pam config remove \"LAB domain\"",
		Args:        positional("CONFIG"),
		Annotations: notes(annotNeeds, needVault),
	}
	cmd.ValidArgsFunction = first(d.configurations())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		cfg, err := c.findConfiguration(ctx, c.args[0])
		if err != nil {
			return output.View{}, err
		}
		return shownIf(c.vault.RemoveConfiguration(ctx, cfg.UID),
			messageView("PAM Configuration "+titled(cfg.Title, cfg.UID)+" has been removed.", map[string]any{"uid": cfg.UID}))
	})
}
