package commands

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/pkg/pam"
)

// scopeOptions say which machines a command looks at: one, those of a folder, or
// all of the gateway's configuration.
type scopeOptions struct {
	gatewayOptions
	machine, folder string
	directories     bool // looks at directories too, which services are never on
}

// A scope is what a command looks at.
type scope struct {
	gateway  pam.Gateway
	configs  []pam.Configuration
	machines []pam.Head // by title
	words    string     // for people
}

func (o *scopeOptions) add(d *Deps, cmd *cobra.Command, machineFlag string) {
	o.gatewayOptions.add(d, cmd)
	f := cmd.Flags()
	f.StringVarP(&o.machine, machineFlag, machineFlag[:1], "", "one `MACHINE` only: UID, title or path")
	f.StringVarP(&o.folder, "folder", "f", "", "the machines in `FOLDER` and below only")
	completeFlag(cmd, machineFlag, d.records(o.types()...))
	completeFlag(cmd, "folder", d.folders())
}

// types are the types of record that the command looks at.
func (o *scopeOptions) types() []pam.RecordType {
	if o.directories {
		return []pam.RecordType{pam.TypeMachine, pam.TypeDirectory}
	}
	return []pam.RecordType{pam.TypeMachine}
}

// scope makes Commander's checks in its order: gateway, configuration, machine.
func (c *call) scope(ctx context.Context, o scopeOptions) (scope, error) {
	var s scope
	var err error
	if s.gateway, err = c.gatewayOf(ctx, o.gatewayOptions); err != nil {
		return s, err
	}
	if s.configs, err = c.configurationsOf(ctx, s.gateway, o.gatewayOptions); err != nil {
		return s, err
	}
	if err := oneConfiguration(cmp.Or(o.gateway, s.gateway.Name), s.configs); err != nil {
		return s, err
	}
	switch {
	case o.machine != "" && o.folder != "":
		return s, usagef("one machine and --folder are both set; only set one.")
	case o.machine != "":
		m, err := c.findInScope(ctx, o)
		if err == nil {
			err = c.belongs(ctx, m, s.configs)
		}
		s.machines, s.words = []pam.Head{m}, "machine "+m.Title
		return s, err
	case o.folder != "":
		below, err := c.belowPath(ctx, o.folder)
		if err != nil {
			return s, err
		}
		s.words = "folder " + o.folder
		return s, c.fill(ctx, &s, o, func(h pam.Head) bool { return below[h.Folder] })
	}
	s.words = "configuration " + s.configs[0].Title
	return s, c.fill(ctx, &s, o, func(pam.Head) bool { return true })
}

func (c *call) findInScope(ctx context.Context, o scopeOptions) (pam.Head, error) {
	if h, err := c.find(ctx, o.machine); o.directories && err == nil && h.Type == pam.TypeDirectory {
		return h, nil
	}
	return c.findMachine(ctx, o.machine)
}

// fill takes the machines of the scope's configurations that are in it.
func (c *call) fill(ctx context.Context, s *scope, o scopeOptions, in func(pam.Head) bool) error {
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return err
	}
	for _, h := range heads {
		if slices.Contains(o.types(), h.Type) && in(h) && c.belongs(ctx, h, s.configs) == nil {
			s.machines = append(s.machines, h)
		}
	}
	sortBy(s.machines, sortKey)
	return nil
}

// windowsOnly leaves the machines that services can be discovered on. A single
// machine that is none of those is an error, in Commander's words.
func (c *call) windowsOnly(ctx context.Context, s *scope, o scopeOptions) error {
	if o.machine != "" {
		return c.checkWindows(ctx, s.machines[0])
	}
	s.machines = slices.DeleteFunc(s.machines, func(h pam.Head) bool {
		m, _ := c.vault.Machine(ctx, h.UID) // a record that cannot be used says so when it is looked at
		return !m.IsWindows()
	})
	return s.some("Windows machine")
}

func (s *scope) some(what string) error {
	if len(s.machines) > 0 {
		return nil
	}
	return pam.Errorf(pam.ErrNotFound, "there is no %s in %s", what, s.words).
		WithHint(`"keyturn search -l pamMachine" shows the machines, "keyturn pam config list" whose they are`)
}

func (s *scope) uids() []pam.UID {
	var uids []pam.UID
	for _, m := range s.machines {
		uids = append(uids, m.UID)
	}
	return uids
}

// kindWords says in a few words what runs somewhere: "2 services, 1 scheduled task".
func kindWords(items []pam.FoundItem) string {
	var order []pam.DependencyKind
	n := map[pam.DependencyKind]int{}
	for _, i := range items {
		if n[i.Kind] == 0 {
			order = append(order, i.Kind)
		}
		n[i.Kind]++
	}
	var words []string
	for _, k := range order {
		word := strconv.Itoa(n[k]) + " " + k.Label()
		if n[k] > 1 {
			word += "s"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}
