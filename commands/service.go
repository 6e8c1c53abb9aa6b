package commands

import (
	"cmp"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/pkg/pam"
)

// gatewayOptions name the configurations that a command is about.
type gatewayOptions struct{ gateway, config string }

func (o *gatewayOptions) add(d *Deps, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.gateway, "gateway", "g", "", "the gateway: `UID` or name; it can be left out where there is only one")
	f.StringVarP(&o.config, "configuration-uid", "c", "", "the PAM configuration, if the gateway has several: `UID` or title")
	completeFlag(cmd, "gateway", d.gateways())
	completeFlag(cmd, "configuration-uid", d.configurations())
}

// pairOptions name a machine and a user of a gateway besides.
type pairOptions struct {
	gatewayOptions
	machine, user string
}

func (o *pairOptions) add(d *Deps, cmd *cobra.Command) {
	o.gatewayOptions.add(d, cmd)
	f := cmd.Flags()
	f.StringVarP(&o.machine, "machine-uid", "m", "", "the PAM Machine: `UID`, title or path")
	f.StringVarP(&o.user, "user-uid", "u", "", "the PAM User: `UID`, title or path")
	completeFlag(cmd, "machine-uid", d.records(pam.TypeMachine))
	completeFlag(cmd, "user-uid", d.records(pam.TypeUser))
}

// serviceOptions are the flags that service add and remove share.
type serviceOptions struct {
	pairOptions
	kind string
}

func (o *serviceOptions) add(d *Deps, cmd *cobra.Command) {
	o.pairOptions.add(d, cmd)
	cmd.Flags().StringVarP(&o.kind, "type", "t", "", "`service`, task or iis; all three when it is not given")
	completeFlag(cmd, "type", fixed(
		"service\tWindows services", "task\tscheduled tasks", "iis\tIIS pools, virtual directories and anonymous users"))
}

func (o *serviceOptions) kinds() (pam.MappingKinds, error) {
	if o.kind == "" {
		return pam.MapAll, nil
	}
	kinds, err := pam.ParseMappingKind(o.kind)
	if err != nil {
		return 0, usagef("argument --type/-t: %w", err).WithHint("keyturn help pam action service")
	}
	return kinds, nil
}

// A pair is what a mapping command is about.
type pair struct {
	machine, user pam.Head
	kinds         pam.MappingKinds
}

// gatewayConfigurations returns the gateway and the configurations bound to it
// that the command is about, in Commander's order of checks.
func (c *call) gatewayConfigurations(ctx context.Context, o gatewayOptions) ([]pam.Configuration, error) {
	g, err := c.gatewayOf(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.configurationsOf(ctx, g, o)
}

// oneConfigurationOf is gatewayConfigurations for commands that work with one.
func (c *call) oneConfigurationOf(ctx context.Context, o gatewayOptions) ([]pam.Configuration, error) {
	g, err := c.gatewayOf(ctx, o)
	if err != nil {
		return nil, err
	}
	configs, err := c.configurationsOf(ctx, g, o)
	if err != nil {
		return nil, err
	}
	return configs, oneConfiguration(cmp.Or(o.gateway, g.Name), configs)
}

// gatewayOf returns the gateway that was named, or the one that can only be meant:
// that of the configuration, or the only one there is.
func (c *call) gatewayOf(ctx context.Context, o gatewayOptions) (pam.Gateway, error) {
	if o.gateway != "" {
		return c.findGateway(ctx, o.gateway)
	}
	if o.config != "" {
		cfg, err := c.findConfiguration(ctx, o.config)
		if err != nil {
			return pam.Gateway{}, err
		}
		return c.findGateway(ctx, string(cfg.Gateway))
	}
	gateways, err := c.vault.Gateways(ctx)
	if err != nil {
		return pam.Gateway{}, err
	}
	if len(gateways) == 1 {
		return gateways[0], nil
	}
	var names []string
	for _, g := range gateways {
		names = append(names, titled(g.Name, g.UID))
	}
	return pam.Gateway{}, usagef("the following arguments are required: --gateway/-g: there are %d gateways", len(gateways)).
		WithHint("-g GATEWAY, one of %s", strings.Join(names, ", "))
}

func (c *call) configurationsOf(ctx context.Context, g pam.Gateway, o gatewayOptions) ([]pam.Configuration, error) {
	configs, err := c.vault.Configurations(ctx)
	if err != nil {
		return nil, err
	}
	var bound []pam.Configuration
	for _, cfg := range configs {
		named := o.config == "" || string(cfg.UID) == o.config || strings.EqualFold(cfg.Title, o.config)
		if cfg.Gateway == g.UID && named {
			bound = append(bound, cfg)
		}
	}
	if len(bound) == 0 {
		return nil, pam.Errorf(pam.ErrNotFound, "Could not find the gateway configuration for %s.", cmp.Or(o.gateway, g.Name)).
			WithHint(`"keyturn pam config list" shows the configurations`)
	}
	return bound, nil
}

// oneConfiguration refuses a gateway with several configurations of which none
// is named.
func oneConfiguration(gateway string, configs []pam.Configuration) error {
	if len(configs) == 1 {
		return nil
	}
	lines := []string{
		"Found multiple configuration records for gateway " + gateway + ".",
		"Please use the --configuration-uid parameter to select the configuration.",
		"Available configurations are: ",
	}
	for _, cfg := range configs {
		lines = append(lines, " * "+string(cfg.UID)+" - "+cfg.Title)
	}
	return pam.Errorf(pam.ErrAmbiguous, "%s", strings.Join(lines, "\n"))
}

// belongs reports whether the machine's configuration is one of configs.
func (c *call) belongs(ctx context.Context, machine pam.Head, configs []pam.Configuration) error {
	own, err := c.configurationOf(ctx, machine)
	if err != nil {
		return err
	}
	for _, cfg := range configs {
		if cfg.UID == own.UID {
			return nil
		}
	}
	return pam.Errorf(pam.ErrInvalidInput, "The machine record does not belong to this gateway. Record: %s; it belongs to %s",
		titled(machine.Title, machine.UID), titled(own.Title, own.UID)).
		WithHint(`"keyturn pam gateway list" shows which configuration belongs to which gateway`)
}

// mappingOf returns the kinds a user is mapped to on a machine.
func mappingOf(all []pam.Mapping, p pair) pam.MappingKinds {
	for _, m := range all {
		if m.User == p.user.UID && m.Machine == p.machine.UID {
			return m.Kinds
		}
	}
	return 0
}

func mappingFacts(p pair, kinds pam.MappingKinds) map[string]any {
	return map[string]any{
		"machine_uid": p.machine.UID, "machine": p.machine.Title,
		"user_uid": p.user.UID, "user": p.user.Title, "types": kinds.Types(),
	}
}
