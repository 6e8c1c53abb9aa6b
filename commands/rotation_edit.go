package commands

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
)

type rotationEditOptions struct {
	record, resource, config, gateway, admin, complexity, profile string
	force, onDemand, enable, disable                              bool
	complexitySet                                                 bool
	policy                                                        policyFlags
}

func newRotationEdit(d *Deps) *cobra.Command {
	o := rotationEditOptions{}
	cmd := &cobra.Command{
		Use:     "edit",
		Aliases: []string{"new", "e"},
		Short:   "Edits Record Rotation configuration",
		Long: `Say how a user's password is rotated: -rs names the machine or directory that
decides it, -x the password's complexity. Without -r, -rs and -a give a machine
or directory its own admin.

--restart, --window, --skip-unreachable-max and --max-failures are the account's
standing policy: flags of "pam action rotate" override it for one job, and an
empty value goes back to the default.

It asks first, unless --force is given.`,
		Example: `  keyturn pam rotation edit -r svc_app -rs DC01 -x 24,2,2,2,2 --enable --force
  keyturn pam rotation edit -r svc_app --force \
    --restart window --window "22:00-04:00 Europe/Budapest"
  keyturn pam rotation edit -rs SRV1 -a "SRV1 admin"`,
		Args: positional(),
		Annotations: notes(annotNeeds, needVault,
			annotShort, "rs=resource od=on-demand rp=rotation-profile"),
	}
	f := cmd.Flags()
	f.StringVarP(&o.record, "record", "r", "", "the PAM User: `UID`, title or path")
	f.StringVar(&o.resource, "resource", "", "the machine or directory that decides the password: `UID`, title or path (short: -rs)")
	f.StringVarP(&o.config, "config", "c", "", "the PAM configuration: `UID` or title")
	f.StringVarP(&o.gateway, "gateway", "g", "", "accepted for Commander's sake; the gateway follows from the configuration: `UID`")
	f.StringVarP(&o.admin, "admin-user", "a", "", "who logs in to the resource: a pamUser's `UID` or title")
	f.StringVarP(&o.complexity, "complexity", "x", "",
		"the password's `RULES`, empty for the default: length,upper,lower,digits,symbols[,SPECIALS]")
	f.StringVar(&o.profile, "rotation-profile", "general", "`general` is the only profile (short: -rp)")
	f.BoolVarP(&o.force, "force", "f", false, "do not ask")
	f.BoolVar(&o.onDemand, "on-demand", false, "rotate only when asked (short: -od); there are no schedules yet")
	f.BoolVarP(&o.enable, "enable", "e", false, "allow rotation")
	f.BoolVarP(&o.disable, "disable", "d", false, "forbid rotation")
	o.policy.add(cmd)
	completeFlag(cmd, "record", d.records(pam.TypeUser))
	completeFlag(cmd, "resource", d.records(pam.TypeMachine, pam.TypeDirectory))
	completeFlag(cmd, "config", d.configurations())
	completeFlag(cmd, "gateway", d.gateways())
	completeFlag(cmd, "admin-user", d.records(pam.TypeUser))
	completeFlag(cmd, "rotation-profile", fixed("general"))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		o.complexitySet = cmd.Flags().Changed("complexity")
		return editRotation(ctx, c, o)
	})
}

func (o rotationEditOptions) check() error {
	switch {
	case o.record == "" && o.resource == "":
		return usagef("the following arguments are required: --record/-r or --resource/-rs").
			WithHint("keyturn help pam rotation edit")
	case o.record == "" && o.policy.changed():
		return usagef("a policy is an account's: the following arguments are required: --record/-r")
	case o.record == "" && o.admin == "" && o.config == "":
		return usagef("Nothing to do. With --resource alone, give --admin-user or --config")
	case o.enable && o.disable:
		return usagef("argument --disable/-d: not allowed with argument --enable/-e")
	case o.profile != "general":
		return usagef("argument --rotation-profile/-rp: %q is not supported; general is", o.profile)
	case o.complexity != "":
		_, err := password.ParseAccountRules(o.complexity)
		return err
	}
	return nil
}

func editRotation(ctx context.Context, c *call, o rotationEditOptions) (output.View, error) {
	if err := o.check(); err != nil {
		return output.View{}, err
	}
	e, err := c.plannedEdit(ctx, o)
	if err != nil {
		return output.View{}, err
	}
	if o.record == "" {
		return shownIf(c.saveResource(ctx, e), e.resourceView())
	}
	view, err := e.view()
	if err != nil {
		return output.View{}, err
	}
	if !o.force {
		// The question shows what it is about, and that is news for people.
		_ = output.Render(c.Err, output.FormatTable, view, c.columns(c.Err))
		if err := c.confirm(ctx, "Do you want to update password rotation?", "--force"); err != nil {
			return output.View{}, err
		}
	}
	return shownIf(c.saveRotation(ctx, e), view)
}

func (c *call) saveResource(ctx context.Context, e rotationEdit) error {
	if err := c.vault.SetResourceSettings(ctx, e.machine); err != nil {
		return err
	}
	return c.warnOwnAdmin(ctx, func(p rotationPair) bool { return p.machine == e.resource.UID })
}

func (c *call) saveRotation(ctx context.Context, e rotationEdit) error {
	if e.machineChanged {
		if err := c.vault.SetResourceSettings(ctx, e.machine); err != nil {
			return err
		}
	}
	if err := c.vault.SetRotation(ctx, e.settings); err != nil {
		return err
	}
	c.warnWithoutAdmin(e)
	return c.warnOwnAdmin(ctx, func(p rotationPair) bool {
		return p.user == e.user.UID || e.machineChanged && p.machine == e.resource.UID
	})
}

// A rotationEdit is what "rotation edit" is about to save.
type rotationEdit struct {
	user, resource pam.Head
	settings       pam.RotationSettings
	machine        pam.ResourceSettings
	machineChanged bool
	config         pam.Configuration
	admin          pam.Head
}

func (c *call) plannedEdit(ctx context.Context, o rotationEditOptions) (rotationEdit, error) {
	e := rotationEdit{}
	var err error
	if o.record != "" {
		if err := c.loadRotation(ctx, o.record, &e); err != nil {
			return e, err
		}
	}
	if err := c.loadResource(ctx, o.resource, &e); err != nil {
		return e, err
	}
	if o.config != "" {
		if e.config, err = c.findConfiguration(ctx, o.config); err != nil {
			return e, err
		}
		e.machineChanged = e.machine.Configuration != e.config.UID
		e.machine.Configuration = e.config.UID
	} else if e.config, err = c.configurationOf(ctx, e.resource); err != nil {
		return e, err
	}
	if o.admin != "" {
		if e.admin, err = c.findAdmin(ctx, o.admin); err != nil {
			return e, err
		}
		e.machine.Admin, e.machineChanged = e.admin.UID, true
	}
	return e, o.apply(&e)
}

func (c *call) loadRotation(ctx context.Context, name string, e *rotationEdit) error {
	var err error
	if e.user, err = c.find(ctx, name); err != nil {
		return err
	}
	if e.user.Type != pam.TypeUser {
		return pam.Errorf(pam.ErrInvalidInput, "No PAM record is found. Valid PAM record types: %s. Record: %s, a %s",
			pam.TypeUser, titled(e.user.Title, e.user.UID), e.user.Type)
	}
	settings, ok, err := c.vault.Rotation(ctx, e.user.UID)
	if !ok {
		settings = pam.RotationSettings{User: e.user.UID, Enabled: true}
	}
	e.settings = settings
	return err
}

func (c *call) loadResource(ctx context.Context, name string, e *rotationEdit) error {
	if name == "" {
		name = string(e.settings.Resource)
	}
	if name == "" {
		return usagef("General rotation profile requires --resource to be specified. Record: %s", titled(e.user.Title, e.user.UID)).
			WithHint("keyturn pam rotation edit -r %s -rs MACHINE", e.user.UID)
	}
	var err error
	if e.resource, err = c.find(ctx, name); err != nil {
		return err
	}
	if e.resource.Type != pam.TypeMachine && e.resource.Type != pam.TypeDirectory {
		return pam.Errorf(pam.ErrInvalidInput, "PAM Resource %q is not a PAM Machine or PAM Directory. Record: %s, a %s",
			name, titled(e.resource.Title, e.resource.UID), e.resource.Type)
	}
	e.machine, err = c.vault.ResourceSettings(ctx, e.resource.UID)
	e.machine.Resource = e.resource.UID
	return err
}

func (o rotationEditOptions) apply(e *rotationEdit) error {
	e.settings.Resource, e.settings.Configuration = e.resource.UID, e.config.UID
	e.settings.OnDemand = true // there are no schedules yet
	if o.complexitySet {
		e.settings.Complexity = o.complexity
	}
	if o.enable || o.disable {
		e.settings.Enabled = o.enable
	}
	if o.record == "" {
		return nil
	}
	var err error
	e.settings.Policy, err = o.policy.over(e.settings.Policy)
	return err
}

// view shows the settings as they will be.
func (e rotationEdit) view() (output.View, error) {
	rules, err := rulesText(e.settings.Complexity)
	if err != nil {
		return output.View{}, err
	}
	v := output.View{
		Tables: []output.Table{{
			Title: "The following record(s) will be updated",
			Header: []string{
				"Record UID", "Record Title", "Enabled", "Configuration UID", "Resource UID", "Schedule", "Complexity",
			},
			Prose: []string{"Schedule", "Complexity"},
			Rows: [][]string{{
				string(e.user.UID), e.user.Title, fmt.Sprint(e.settings.Enabled), string(e.config.UID),
				string(e.resource.UID), onDemandLabel, rules,
			}},
		}},
		Document: rotationRow(e.user, e.settings, e.config.Title, ""),
	}
	addPolicy(&v, e.settings.Policy)
	return v, nil
}

func (e rotationEdit) resourceView() output.View {
	text := "Machine " + titled(e.resource.Title, e.resource.UID) + " belongs to " + titled(e.config.Title, e.config.UID) + "."
	if e.admin.UID != "" {
		text = "Admin " + titled(e.admin.Title, e.admin.UID) + " logs in to " + titled(e.resource.Title, e.resource.UID) + "."
	}
	return messageView(text, map[string]any{
		"resource_uid": e.resource.UID, "admin_uid": e.machine.Admin, "config_uid": e.config.UID,
	})
}

// warnWithoutAdmin says now what the next rotation would fail with.
func (c *call) warnWithoutAdmin(e rotationEdit) {
	if e.machine.Admin != "" || e.config.Admin != "" {
		return
	}
	c.sayf("warning: PAM Resource %q does not have admin credentials. Please link an admin credential to this resource.",
		e.resource.Title)
	c.sayf("hint: keyturn pam rotation edit -rs %s -a ADMIN, or for all its machines: keyturn pam config edit %s -a ADMIN",
		e.resource.UID, e.config.UID)
}
