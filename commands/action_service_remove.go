package commands

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newServiceRemove(d *Deps) *cobra.Command {
	o := serviceOptions{}
	cmd := &cobra.Command{
		Use:     "remove",
		Aliases: []string{"r"},
		Short:   "Remove a user and machine from the mapping",
		Long: `Take back what "service add" said. Nothing changes on the machine; its services
are left alone when the user's password is rotated.`,
		Example: `  keyturn pam action service remove -g Embedded -m SRV1 -u svc_app -t task
  keyturn pam action service remove -g Embedded -m SRV1 -u svc_app`,
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault, annotRequired, "machine-uid user-uid"),
	}
	o.add(d, cmd)
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return removeService(ctx, c, o) })
}

func removeService(ctx context.Context, c *call, o serviceOptions) (output.View, error) {
	p := pair{}
	var err error
	if p.kinds, err = o.kinds(); err != nil {
		return output.View{}, err
	}
	g, err := c.gatewayOf(ctx, o.gatewayOptions)
	if err != nil {
		return output.View{}, err
	}
	if _, err = c.configurationsOf(ctx, g, o.gatewayOptions); err != nil {
		return output.View{}, err
	}
	if p.machine, err = c.findMachine(ctx, o.machine); err != nil {
		return output.View{}, err
	}
	if p.user, err = c.findUser(ctx, o.user); err != nil {
		return output.View{}, err
	}
	all, err := c.vault.AllMappings(ctx)
	if err != nil {
		return output.View{}, err
	}
	if err := mapped(all, p, g); err != nil {
		return output.View{}, err
	}
	kinds := mappingOf(all, p) &^ p.kinds
	err = c.vault.SetMapping(ctx, pam.Mapping{User: p.user.UID, Machine: p.machine.UID, Kinds: kinds})
	return shownIf(err, messageView(removedText(p.kinds), mappingFacts(p, kinds)))
}

// mapped checks that there is something to remove.
func mapped(all []pam.Mapping, p pair, g pam.Gateway) error {
	var err *pam.Error
	switch {
	case !slices.ContainsFunc(all, func(m pam.Mapping) bool { return m.Machine == p.machine.UID }):
		err = pam.Errorf(pam.ErrNotFound, "The machine does not exist in the mapping. Record: %s",
			titled(p.machine.Title, p.machine.UID))
	case !slices.ContainsFunc(all, func(m pam.Mapping) bool { return m.User == p.user.UID }):
		err = pam.Errorf(pam.ErrNotFound, "The user does not exist in the mapping. Record: %s", titled(p.user.Title, p.user.UID))
	case mappingOf(all, p)&p.kinds == 0:
		err = pam.Errorf(pam.ErrNotFound,
			"The user did not control any services, scheduled tasks, or IIS pools on the machine. Records: %s on %s",
			titled(p.user.Title, p.user.UID), titled(p.machine.Title, p.machine.UID))
	default:
		return nil
	}
	return err.WithHint(`"keyturn pam action service list -g %s" shows the mappings`, g.UID)
}

func removedText(kinds pam.MappingKinds) string {
	const rest = " running on this machine will no longer have their password changed when this user's password is rotated."
	switch kinds {
	case pam.MapServices:
		return "Success: Services" + rest
	case pam.MapTasks:
		return "Success: Scheduled tasks" + rest
	case pam.MapIIS:
		return "Success: IIS pools" + rest
	default:
		return "Success: When the user's password is rotated, service passwords will NOT be changed on this machine."
	}
}
