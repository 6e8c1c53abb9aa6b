package commands

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// A dependencyFilter says which dependencies are listed; the zero one, all.
type dependencyFilter struct {
	user, machine, folder string
	stale                 bool
}

func (o *dependencyFilter) add(d *Deps, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.user, "user", "", "of `USER` only: UID, title or path")
	f.StringVar(&o.machine, "machine", "", "on `MACHINE` only: UID, title or path")
	f.StringVar(&o.folder, "folder", "", "whose user or machine is in `FOLDER` or below")
	f.BoolVar(&o.stale, "stale", false, "only what is not known to hold the present password")
	completeFlag(cmd, "user", d.records(pam.TypeUser))
	completeFlag(cmd, "machine", d.records(pam.TypeMachine))
	completeFlag(cmd, "folder", d.folders())
}

// A dependencyDocument is a known dependency in JSON. Generation is the one it
// was last confirmed to hold, 0 for never; Standing is current, stale or unknown.
type dependencyDocument struct {
	AccountUID pam.UID            `json:"account_uid"`
	Account    string             `json:"account"`
	Users      []userDocument     `json:"users"`
	MachineUID pam.UID            `json:"machine_uid"`
	Machine    string             `json:"machine"`
	Kind       pam.DependencyKind `json:"kind"`
	Name       string             `json:"name"`
	State      string             `json:"state"`
	Generation int                `json:"generation"`
	Confirmed  string             `json:"confirmed,omitempty"`
	Current    int                `json:"current_generation"`
	Standing   string             `json:"status"`
	Stale      bool               `json:"stale"`
	Seen       string             `json:"seen"`
}

// A userDocument names a user's record in JSON.
type userDocument struct {
	UID   pam.UID `json:"user_uid"`
	Title string  `json:"title"`
}

func listDependencies(ctx context.Context, c *call, o serviceListOptions) (output.View, error) {
	known, err := c.vault.KnownDependencies(ctx)
	if err != nil {
		return output.View{}, err
	}
	heads, err := c.headsByUID(ctx)
	if err != nil {
		return output.View{}, err
	}
	wanted, err := c.dependencyFilter(ctx, o, heads)
	if err != nil {
		return output.View{}, err
	}
	docs := []dependencyDocument{}
	for _, k := range known {
		if wanted(k) {
			docs = append(docs, documentOfDependency(k, heads))
		}
	}
	sortBy(docs, func(d dependencyDocument) string { return strings.ToLower(userTitles(d) + "\x00" + d.Machine) })
	return dependencyView(docs), nil
}

func (c *call) headsByUID(ctx context.Context) (map[pam.UID]pam.Head, error) {
	heads, err := c.vault.Heads(ctx)
	byUID := map[pam.UID]pam.Head{}
	for _, h := range heads {
		byUID[h.UID] = h
	}
	return byUID, err
}

// A keep decides whether a dependency is shown.
type keep func(pam.KnownDependency) bool

// dependencyFilter returns which dependencies the command line asks for: those
// that every one of its flags keeps.
func (c *call) dependencyFilter(ctx context.Context, o serviceListOptions, heads map[pam.UID]pam.Head) (keep, error) {
	keeps := []keep{}
	for _, part := range []struct {
		given bool
		keep  func() (keep, error)
	}{
		{o.only.stale, func() (keep, error) {
			return func(k pam.KnownDependency) bool { return k.Standing() != string(pam.Current) }, nil
		}},
		{o.only.user != "", func() (keep, error) {
			user, err := c.findUser(ctx, o.only.user)
			return func(k pam.KnownDependency) bool { return slices.Contains(k.Users, user.UID) }, err
		}},
		{o.only.machine != "", func() (keep, error) {
			machine, err := c.findMachine(ctx, o.only.machine)
			return func(k pam.KnownDependency) bool { return k.Machine == machine.UID }, err
		}},
		{o.only.folder != "", func() (keep, error) {
			below, err := c.belowPath(ctx, o.only.folder)
			in := func(uid pam.UID) bool { h, ok := heads[uid]; return ok && below[h.Folder] }
			return func(k pam.KnownDependency) bool { return in(k.Machine) || slices.ContainsFunc(k.Users, in) }, err
		}},
		{o.gateway != "", func() (keep, error) {
			configs, err := c.gatewayConfigurations(ctx, o.gatewayOptions)
			return func(k pam.KnownDependency) bool { return c.belongs(ctx, heads[k.Machine], configs) == nil }, err
		}},
	} {
		if !part.given {
			continue
		}
		k, err := part.keep()
		if err != nil {
			return nil, err
		}
		keeps = append(keeps, k)
	}
	return func(k pam.KnownDependency) bool {
		return !slices.ContainsFunc(keeps, func(keeps keep) bool { return !keeps(k) })
	}, nil
}

// belowPath returns a folder and all folders in it; "/" is the root.
func (c *call) belowPath(ctx context.Context, path string) (map[pam.UID]bool, error) {
	top, err := c.vault.FindFolder(ctx, path, c.Session.Folder)
	if err != nil {
		return nil, err
	}
	return c.below(ctx, top)
}

// below returns a folder, "" for the root, and all folders in it.
func (c *call) below(ctx context.Context, top pam.UID) (map[pam.UID]bool, error) {
	folders, err := c.vault.Folders(ctx)
	if err != nil {
		return nil, err
	}
	in := map[pam.UID]bool{top: true}
	for grown := true; grown; {
		grown = false
		for _, f := range folders {
			if in[f.Parent] && !in[f.UID] {
				in[f.UID], grown = true, true
			}
		}
	}
	return in, nil
}

func documentOfDependency(k pam.KnownDependency, heads map[pam.UID]pam.Head) dependencyDocument {
	d := dependencyDocument{
		AccountUID: k.Account, Account: k.AccountName, Users: []userDocument{}, MachineUID: k.Machine,
		Machine: headTitle(heads, k.Machine), Kind: k.Kind, Name: k.Name, State: k.State, Generation: k.Held,
		Confirmed: timestamp(k.Confirmed), Current: k.Current, Standing: k.Standing(), Seen: timestamp(k.Seen),
	}
	d.Stale = d.Standing != string(pam.Current)
	for _, u := range k.Users {
		d.Users = append(d.Users, userDocument{u, headTitle(heads, u)})
	}
	sortBy(d.Users, func(u userDocument) string { return strings.ToLower(u.Title) + "\x00" + string(u.UID) })
	return d
}

// headTitle names a record; one that was deleted, by its UID.
func headTitle(heads map[pam.UID]pam.Head, uid pam.UID) string {
	if h, ok := heads[uid]; ok {
		return h.Title
	}
	return string(uid)
}

// userTitles names a dependency's user: several records of one account all.
func userTitles(d dependencyDocument) string {
	if len(d.Users) == 0 {
		return d.Account
	}
	titles := make([]string, len(d.Users))
	for i, u := range d.Users {
		titles[i] = u.Title
	}
	return strings.Join(titles, ", ")
}

func dependencyView(docs []dependencyDocument) output.View {
	t := output.Table{
		Header: []string{"User", "Machine", "Kind", "Name", "State", "Generation", "Current", "Status", "Confirmed"},
		Prose:  []string{"User", "Kind"},
	}
	file := &output.Table{Header: []string{
		"account_uid", "account", "users", "machine_uid", "machine", "kind", "name", "state", "generation", "current_generation",
		"status", "confirmed", "seen",
	}}
	for _, d := range docs {
		held, current := generation(d.Generation), generation(d.Current)
		t.Rows = append(t.Rows, []string{
			userTitles(d), d.Machine, d.Kind.Label(), d.Name, d.State, held, current, d.Standing, d.Confirmed,
		})
		file.Rows = append(file.Rows, []string{
			string(d.AccountUID), d.Account, userTitles(d), string(d.MachineUID), d.Machine, string(d.Kind), d.Name, d.State,
			held, current, d.Standing, d.Confirmed, d.Seen,
		})
	}
	v := output.View{CSV: file, Document: map[string]any{"dependencies": docs}}
	if len(docs) == 0 {
		v.Before = []string{"No such dependency is known. " +
			"A rotation, or \"pam action discover start\", finds what stores a password."}
		return v
	}
	v.Tables = []output.Table{t}
	return v
}

// generation shows a generation's number; none is empty.
func generation(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
