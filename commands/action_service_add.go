package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newServiceAdd(d *Deps) *cobra.Command {
	o := serviceOptions{}
	cmd := &cobra.Command{
		Use:     "add",
		Aliases: []string{"a"},
		Short:   "Add a user and machine to the mapping",
		Long: `Say that services, scheduled tasks or IIS pools on a machine run as a user: when
the user's password is rotated, their stored password is updated, and what was
running is restarted. Adding what is there already changes nothing.

Type iis covers application pools, virtual directories and the users of
anonymous authentication.`,
		Example: `  keyturn pam action service add -g Embedded -m SRV1 -u svc_app -t service
  keyturn pam action service add -g Embedded -m SRV1 -u svc_app`,
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault, annotRequired, "machine-uid user-uid"),
	}
	o.add(d, cmd)
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return addService(ctx, c, o) })
}

func addService(ctx context.Context, c *call, o serviceOptions) (output.View, error) {
	p, err := c.checkedPair(ctx, o)
	if err != nil {
		return output.View{}, err
	}
	all, err := c.vault.AllMappings(ctx)
	if err != nil {
		return output.View{}, err
	}
	kinds := mappingOf(all, p) | p.kinds
	err = c.vault.SetMapping(ctx, pam.Mapping{User: p.user.UID, Machine: p.machine.UID, Kinds: kinds})
	if err != nil {
		return output.View{}, err
	}
	return messageView(addedText(p.kinds), mappingFacts(p, kinds)),
		c.warnOwnAdmin(ctx, func(of rotationPair) bool { return of == rotationPair{p.user.UID, p.machine.UID} })
}

func addedText(kinds pam.MappingKinds) string {
	switch kinds {
	case pam.MapServices:
		return "Success: Services running on this machine, using this user, " +
			"will be updated and restarted after password rotation."
	case pam.MapTasks:
		return "Success: Scheduled tasks running on this machine, using this user, will be updated after password rotation."
	case pam.MapIIS:
		return "Success: IIS pools running on this machine, using this user, will be updated after password rotation."
	default:
		return "Success: When the user's password is rotated, service passwords, on this machine, will also be changed."
	}
}

// checkedPair makes Commander's checks, in its order: gateway, machine, user,
// operating system.
func (c *call) checkedPair(ctx context.Context, o serviceOptions) (pair, error) {
	p := pair{}
	var err error
	if p.kinds, err = o.kinds(); err != nil {
		return p, err
	}
	configs, err := c.oneConfigurationOf(ctx, o.gatewayOptions)
	if err != nil {
		return p, err
	}
	if p.machine, err = c.findMachine(ctx, o.machine); err != nil {
		return p, err
	}
	if err := c.belongs(ctx, p.machine, configs); err != nil {
		return p, err
	}
	if p.user, err = c.findUser(ctx, o.user); err != nil {
		return p, err
	}
	if err := c.checkRotation(ctx, p.user, configs); err != nil {
		return p, err
	}
	return p, c.checkWindows(ctx, p.machine)
}

func (c *call) checkRotation(ctx context.Context, user pam.Head, configs []pam.Configuration) error {
	s, ok, err := c.vault.Rotation(ctx, user.UID)
	if err != nil {
		return err
	}
	if !ok {
		return pam.Errorf(pam.ErrInvalidInput, "The user record does not have any rotation settings. Record: %s",
			titled(user.Title, user.UID)).
			WithHint("keyturn pam rotation edit -r %s -rs MACHINE --force", user.UID)
	}
	for _, cfg := range configs {
		if cfg.UID == s.Configuration {
			return nil
		}
	}
	return pam.Errorf(pam.ErrInvalidInput, "The user record does not belong to this gateway. Cannot use this user. Record: %s",
		titled(user.Title, user.UID)).
		WithHint("keyturn pam rotation info -r %s", user.UID)
}

func (c *call) checkWindows(ctx context.Context, machine pam.Head) error {
	r, err := c.vault.Record(ctx, machine.UID)
	if err != nil {
		return err
	}
	f := r.Field("text", "operatingSystem")
	var text string
	switch {
	case f == nil:
		text = "Cannot find the operating system field in this record."
	case strings.TrimSpace(r.Text("text", "operatingSystem")) == "":
		text = "The operating system field of the machine record is blank."
	case !(pam.Machine{OperatingSystem: r.Text("text", "operatingSystem")}).IsWindows():
		text = "The operating system is not Windows. " +
			"PAM can only rotate the services and scheduled task password on Windows."
	default:
		return nil
	}
	return pam.Errorf(pam.ErrInvalidInput, "%s Record: %s", text, titled(machine.Title, machine.UID)).
		WithHint("keyturn record-update -r %s text.operatingSystem=windows", machine.UID)
}
