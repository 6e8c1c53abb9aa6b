package commands

import (
	"context"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// A position is where "service enable" and "service disable" put the switch of a
// machine or user.
type position int

const (
	switchedOn position = iota
	switchedOff
)

func newServiceEnable(d *Deps) *cobra.Command {
	return newServiceSwitch(d, switchedOn, &cobra.Command{
		Use:     "enable",
		Aliases: []string{"e"},
		Short:   "Enable service password rotation on a machine or user",
		Long: `Take back "service disable": from the next rotation on, the services, scheduled
tasks and IIS pools of the machine, or of the user wherever it is mapped, follow
the password again. Nothing happens on any machine now.`,
		Example: "  keyturn pam action service enable -g Embedded -m SRV1\n  keyturn pam action service enable -g Embedded -u svc_app",
	})
}

func newServiceDisable(d *Deps) *cobra.Command {
	return newServiceSwitch(d, switchedOff, &cobra.Command{
		Use:     "disable",
		Aliases: []string{"d"},
		Short:   "Disable service password rotation on a machine or user",
		Long: `Leave a machine, or everything that follows a user, out of rotations without
forgetting the mapping. A rotation of the password still happens: what is left
out keeps the old one, and plan and job-info show it as skipped, "disabled".`,
		Example: "  keyturn pam action service disable -g Embedded -m SRV1\n  keyturn pam action service disable -g Embedded -u svc_app",
	})
}

func newServiceSwitch(d *Deps, to position, cmd *cobra.Command) *cobra.Command {
	o := pairOptions{}
	cmd.Args, cmd.Annotations = positional(), notes(annotNeeds, needVault)
	o.add(d, cmd)
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return switchService(ctx, c, o, to) })
}

func switchService(ctx context.Context, c *call, o pairOptions, to position) (output.View, error) {
	subject, err := c.switched(ctx, o)
	if err != nil {
		return output.View{}, err
	}
	s, err := c.vault.ResourceSettings(ctx, subject.UID)
	if err != nil {
		return output.View{}, err
	}
	s.Disabled = to == switchedOff
	err = c.vault.SetResourceSettings(ctx, s)
	facts := map[string]any{"machine_uid": subject.UID, "machine": subject.Title, "disabled": s.Disabled}
	if subject.Type == pam.TypeUser {
		facts = map[string]any{"user_uid": subject.UID, "user": subject.Title, "disabled": s.Disabled}
	}
	return shownIf(err, messageView(switchedText(subject.Type, to), facts))
}

// switched makes Commander's checks, in its order, and returns the machine or
// the user.
func (c *call) switched(ctx context.Context, o pairOptions) (pam.Head, error) {
	configs, err := c.oneConfigurationOf(ctx, o.gatewayOptions)
	if err != nil {
		return pam.Head{}, err
	}
	switch {
	case o.machine == "" && o.user == "":
		return pam.Head{}, usagef("Either --machine-uid or --user-uid are required. Both are missing.")
	case o.machine != "" && o.user != "":
		return pam.Head{}, usagef("Both --machine-uid and --user-uid are set; only set one.")
	case o.user != "":
		user, err := c.findUser(ctx, o.user)
		if err != nil {
			return user, err
		}
		return user, c.checkRotation(ctx, user, configs)
	}
	machine, err := c.findMachine(ctx, o.machine)
	if err != nil {
		return machine, err
	}
	return machine, c.belongs(ctx, machine, configs)
}

func switchedText(typ pam.RecordType, to position) string {
	not := ""
	if to == switchedOff {
		not = "NOT "
	}
	if typ == pam.TypeUser {
		return "Success: When rotating the user's password, service passwords will " + not + "be changed, if applicable."
	}
	return "Success: Machine will " + not + "allow services password to be changed during rotation."
}
