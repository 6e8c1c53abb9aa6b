package commands

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type serviceListOptions struct {
	gatewayOptions
	byMachine    bool
	dependencies bool
	only         dependencyFilter
}

func newServiceList(d *Deps) *cobra.Command {
	o := serviceListOptions{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"l"},
		Short:   "List all mappings",
		Long: `List which machines follow which users' passwords, and with what.

With --dependencies: every service, scheduled task and IIS pool that rotations
have met so far, of all accounts, with the generation of the password that it
was last confirmed to hold and the account's present one. Nothing is asked of
any machine.`,
		Example: `  keyturn pam action service list -g Embedded
  keyturn pam action service list -g Embedded -m --format json
  keyturn pam action service list --dependencies --stale`,
		Args: positional(), Annotations: notes(annotNeeds, needVault),
	}
	o.add(d, cmd)
	f := cmd.Flags()
	f.BoolVarP(&o.byMachine, "by-machine", "m", false, "list by machine instead of by user")
	f.BoolVar(&o.dependencies, "dependencies", false, "list what is known to store a password, of all accounts")
	o.only.add(d, cmd)
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		switch {
		case o.dependencies:
			return listDependencies(ctx, c, o)
		case o.only != (dependencyFilter{}):
			return output.View{}, usagef("--user, --machine, --folder and --stale go with --dependencies").WithHint("%s", helpFor(cmd))
		}
		return listServices(ctx, c, o)
	})
}

// A mappedMachine is a machine of a user, and a mappedUser a user of a machine,
// in JSON.
type mappedMachine struct {
	UID      pam.UID  `json:"machine_uid"`
	Title    string   `json:"title"`
	Disabled bool     `json:"disabled"`
	Types    []string `json:"types"`
}

type mappedUser struct {
	UID      pam.UID  `json:"user_uid"`
	Title    string   `json:"title"`
	Disabled bool     `json:"disabled"`
	Types    []string `json:"types"`
}

type userMapping struct {
	UID      pam.UID         `json:"user_uid"`
	Title    string          `json:"title"`
	Disabled bool            `json:"disabled"`
	Machines []mappedMachine `json:"machines"`
}

type machineMapping struct {
	UID      pam.UID      `json:"machine_uid"`
	Title    string       `json:"title"`
	Disabled bool         `json:"disabled"`
	Users    []mappedUser `json:"users"`
}

// A mappingRow is a mapping with the records it names.
type mappingRow struct {
	user, machine pam.Head
	kinds         pam.MappingKinds
	off           switches
}

// switches say what "service disable" switched off of a mapping.
type switches struct{ user, machine bool }

func listServices(ctx context.Context, c *call, o serviceListOptions) (output.View, error) {
	configs, err := c.gatewayConfigurations(ctx, o.gatewayOptions)
	if err != nil {
		return output.View{}, err
	}
	rows, err := c.mappingRows(ctx, configs)
	if err != nil {
		return output.View{}, err
	}
	v := byUser(rows)
	if o.byMachine {
		v = byMachine(rows)
	}
	v.CSV = &output.Table{Header: []string{
		"user_uid", "user", "machine_uid", "machine", "types", "user_disabled", "machine_disabled",
	}}
	for _, r := range rows {
		v.CSV.Rows = append(v.CSV.Rows, []string{
			string(r.user.UID), r.user.Title, string(r.machine.UID), r.machine.Title, strings.Join(r.kinds.Types(), " "),
			strconv.FormatBool(r.off.user), strconv.FormatBool(r.off.machine),
		})
	}
	return v, nil
}

// mappingRows returns the mappings of machines that belong to configs, sorted
// by the user's title, then the machine's.
func (c *call) mappingRows(ctx context.Context, configs []pam.Configuration) ([]mappingRow, error) {
	all, err := c.vault.AllMappings(ctx)
	if err != nil {
		return nil, err
	}
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return nil, err
	}
	byUID := map[pam.UID]pam.Head{}
	for _, h := range heads {
		byUID[h.UID] = h
	}
	var rows []mappingRow
	for _, m := range all {
		r := mappingRow{user: byUID[m.User], machine: byUID[m.Machine], kinds: m.Kinds}
		if c.belongs(ctx, r.machine, configs) != nil {
			continue
		}
		if r.off, err = c.switchedOff(ctx, m); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	sortBy(rows, func(r mappingRow) string { return sortKey(r.user) + "\x00" + sortKey(r.machine) })
	return rows, nil
}

func (c *call) switchedOff(ctx context.Context, m pam.Mapping) (switches, error) {
	user, err := c.vault.ResourceSettings(ctx, m.User)
	if err != nil {
		return switches{}, err
	}
	machine, err := c.vault.ResourceSettings(ctx, m.Machine)
	return switches{user.Disabled, machine.Disabled}, err
}

func sortKey(h pam.Head) string { return strings.ToLower(h.Title) + "\x00" + string(h.UID) }

func byUser(rows []mappingRow) output.View {
	users := []userMapping{}
	for _, r := range rows {
		if len(users) == 0 || users[len(users)-1].UID != r.user.UID {
			users = append(users, userMapping{
				UID: r.user.UID, Title: r.user.Title, Disabled: r.off.user, Machines: []mappedMachine{},
			})
		}
		u := &users[len(users)-1]
		u.Machines = append(u.Machines, mappedMachine{r.machine.UID, r.machine.Title, r.off.machine, r.kinds.Types()})
	}
	lines := mappingHeading("User Mapping", len(users))
	for _, u := range users {
		lines = append(lines, mappingHead(u.Title, u.UID, u.Disabled))
		for _, m := range u.Machines {
			lines = append(lines, mappingLine(m.Title, m.UID, m.Types, m.Disabled))
		}
		lines = append(lines, "")
	}
	return output.View{Before: lines, Document: map[string]any{"users": users}}
}

func byMachine(rows []mappingRow) output.View {
	sortBy(rows, func(r mappingRow) string { return sortKey(r.machine) + "\x00" + sortKey(r.user) })
	machines := []machineMapping{}
	for _, r := range rows {
		if len(machines) == 0 || machines[len(machines)-1].UID != r.machine.UID {
			machines = append(machines, machineMapping{
				UID: r.machine.UID, Title: r.machine.Title, Disabled: r.off.machine, Users: []mappedUser{},
			})
		}
		m := &machines[len(machines)-1]
		m.Users = append(m.Users, mappedUser{r.user.UID, r.user.Title, r.off.user, r.kinds.Types()})
	}
	lines := mappingHeading("Machine Mapping", len(machines))
	for _, m := range machines {
		lines = append(lines, mappingHead(m.Title, m.UID, m.Disabled))
		for _, u := range m.Users {
			lines = append(lines, mappingLine(u.Title, u.UID, u.Types, u.Disabled))
		}
		lines = append(lines, "")
	}
	return output.View{Before: lines, Document: map[string]any{"machines": machines}}
}

func mappingHeading(title string, entries int) []string {
	lines := []string{"", title}
	if entries == 0 {
		lines = append(lines, "  There are no service mappings.")
	}
	return lines
}

//nolint:revive // disabled is a fact about the line
func mappingHead(title string, uid pam.UID, disabled bool) string {
	line := "  " + titled(title, uid)
	if disabled {
		line += " Disabled"
	}
	return line
}

//nolint:revive // disabled is a fact about the line
func mappingLine(title string, uid pam.UID, types []string, disabled bool) string {
	line := "    * " + titled(title, uid) + " : " + typesLabel(types)
	if disabled {
		line += " : Disabled"
	}
	return line
}

func typesLabel(types []string) string {
	var kinds pam.MappingKinds
	for _, t := range types {
		k, err := pam.ParseMappingKind(t)
		if err == nil {
			kinds |= k
		}
	}
	return kinds.Label()
}
