package commands

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// hereAsAll says what a gateway is, to those who know the ones that are installed.
const hereAsAll = "It works from this machine, as all gateways do: nothing to install, no token."

func newGatewayNew(d *Deps) *cobra.Command {
	var name, application, expires string
	var uidOnly bool
	cmd := &cobra.Command{
		Use:     "new",
		Aliases: []string{"n"},
		Short:   "Create new Gateway",
		Long: `Make a gateway: a name that PAM configurations are bound to, for lists and -g.
` + hereAsAll + `
"pam config new" makes a configuration for it.`,
		Example:     "  keyturn pam gateway new -n Branch",
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault, annotRequired, "name"),
	}
	f := cmd.Flags()
	f.StringVarP(&name, "name", "n", "", "the gateway's `name`")
	f.StringVarP(&application, "application", "a", "", "accepted for Commander's sake: configurations name their gateway themselves: `APP`")
	f.StringVarP(&expires, "token-expires-in-min", "e", "", "accepted for Commander's sake: there is no token: `MINUTES`")
	f.BoolVarP(&uidOnly, "return_value", "r", false, "print the gateway's UID alone")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		uid, err := c.vault.SetGateway(ctx, pam.Gateway{Name: name})
		if err != nil {
			return output.View{}, err
		}
		v := messageView("Gateway "+titled(name, uid)+" has been created.", map[string]any{"gateway_uid": uid, "gateway_name": name})
		v.After = []string{hereAsAll}
		if uidOnly {
			v.Before, v.After = []string{string(uid)}, nil
		}
		return v, nil
	})
}

func newGatewayEdit(d *Deps) *cobra.Command {
	var gateway, name string
	cmd := &cobra.Command{
		Use:         "edit",
		Aliases:     []string{"e"},
		Short:       "Edit Gateway",
		Long:        "Give a gateway another name. Its configurations stay bound to it.",
		Example:     "  keyturn pam gateway edit -g Embedded -n Budapest",
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.StringVarP(&gateway, "gateway", "g", "", "the gateway: `UID` or name; it can be left out where there is only one")
	f.StringVarP(&name, "name", "n", "", "the new `name`")
	completeFlag(cmd, "gateway", d.gateways())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if name == "" {
			return output.View{}, usagef("Nothing to do. --name is required to edit the gateway").WithHint("-n NAME")
		}
		g, err := c.gatewayCalled(ctx, gateway)
		if err != nil {
			return output.View{}, err
		}
		g.Name = name
		_, err = c.vault.SetGateway(ctx, g)
		return shownIf(err, messageView("Gateway "+titled(name, g.UID)+" has been edited.",
			map[string]any{"gateway_uid": g.UID, "gateway_name": name}))
	})
}

func newGatewayRemove(d *Deps) *cobra.Command {
	var gateway string
	cmd := &cobra.Command{
		Use:     "remove",
		Aliases: []string{"rm"},
		Short:   "Remove Gateway",
		Long: `Remove a gateway that no PAM configuration is bound to. The last one stays: a
vault has at least one.`,
		Example:     "  keyturn pam gateway remove -g Branch",
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault, annotRequired, "gateway"),
	}
	cmd.Flags().StringVarP(&gateway, "gateway", "g", "", "the gateway: `UID` or name")
	completeFlag(cmd, "gateway", d.gateways())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		g, err := c.gatewayCalled(ctx, gateway)
		if err != nil {
			return output.View{}, err
		}
		return shownIf(c.vault.RemoveGateway(ctx, g.UID), messageView("Gateway "+titled(g.Name, g.UID)+" has been removed.",
			map[string]any{"gateway_uid": g.UID, "gateway_name": g.Name}))
	})
}

// gatewayCalled is gatewayOf in the words of the commands that change gateways.
func (c *call) gatewayCalled(ctx context.Context, name string) (pam.Gateway, error) {
	g, err := c.gatewayOf(ctx, gatewayOptions{gateway: name})
	if errors.Is(err, pam.ErrNotFound) {
		return g, pam.Errorf(pam.ErrNotFound, "Gateway %q not found", name).WithHint(`"keyturn pam gateway list" shows the gateways`)
	}
	return g, err
}
