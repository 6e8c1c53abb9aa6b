package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// warnOwnAdmin says now what every rotation would be refused for: a machine that
// the job logs in to has the rotated account itself as its admin. It only warns:
// accounts are compared by record and by login as it is written, and only the job
// learns which account a name is. about chooses what the command was about.
func (c *call) warnOwnAdmin(ctx context.Context, about func(rotationPair) bool) error {
	pairs, err := c.rotationPairs(ctx)
	if err != nil {
		return err
	}
	pairs = slices.DeleteFunc(pairs, func(p rotationPair) bool { return !about(p) })
	if len(pairs) == 0 {
		return nil
	}
	admins, err := c.adminsOf(ctx, pairs)
	if err != nil {
		return err
	}
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return err
	}
	known := map[pam.UID]pam.Head{}
	for _, h := range heads {
		known[h.UID] = h
	}
	where := map[pam.UID][]pam.Head{}
	var users []pam.UID
	for _, p := range pairs {
		user, admin := known[p.user], known[admins[p.machine]]
		// The summary of a user is its login.
		if admin.UID == "" || admin.UID != user.UID && !strings.EqualFold(admin.Summary, user.Summary) {
			continue
		}
		if where[p.user] == nil {
			users = append(users, p.user)
		}
		where[p.user] = append(where[p.user], known[p.machine])
	}
	for _, uid := range users {
		c.sayOwnAdmin(known[uid], where[uid])
	}
	return nil
}

// warnOwnAdminOf is warnOwnAdmin for the machines of a configuration.
func (c *call) warnOwnAdminOf(ctx context.Context, cfg pam.Configuration) error {
	heads, err := c.vault.Heads(ctx)
	if err != nil {
		return err
	}
	machines, err := c.machinesOf(ctx, cfg, heads)
	if err != nil {
		return err
	}
	return c.warnOwnAdmin(ctx, func(p rotationPair) bool { return slices.Contains(machines, p.machine) })
}

func (c *call) sayOwnAdmin(user pam.Head, machines []pam.Head) {
	where := machines[0].Title
	if more := len(machines) - 1; more > 0 {
		where += fmt.Sprintf(" and %d more", more)
	}
	c.sayf("warning: %s is also the admin that logs in to %s: its rotation will be refused, because a job does not change "+
		"the password it works with", titled(user.Title, user.UID), where)
	c.sayf("hint: keyturn pam rotation edit -rs %s -a ANOTHER", machines[0].UID)
}

// A rotationPair is a rotated user and a machine that its rotation logs in to.
type rotationPair struct{ user, machine pam.UID }

// rotationPairs returns each rotated user with the machine or directory that
// decides its password, and with every machine it is mapped to.
func (c *call) rotationPairs(ctx context.Context) ([]rotationPair, error) {
	rotations, err := c.vault.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	mappings, err := c.vault.AllMappings(ctx)
	if err != nil {
		return nil, err
	}
	var pairs []rotationPair
	decides := map[pam.UID]pam.UID{}
	for _, s := range rotations {
		decides[s.User] = s.Resource
		pairs = append(pairs, rotationPair{s.User, s.Resource})
	}
	for _, m := range mappings {
		if resource, rotated := decides[m.User]; rotated && resource != m.Machine && !m.Disabled {
			pairs = append(pairs, rotationPair{m.User, m.Machine})
		}
	}
	return pairs, nil
}

// adminsOf returns who logs in to the machines of pairs: each one's own admin,
// or its configuration's.
func (c *call) adminsOf(ctx context.Context, pairs []rotationPair) (map[pam.UID]pam.UID, error) {
	configs, err := c.vault.Configurations(ctx)
	if err != nil {
		return nil, err
	}
	admins := map[pam.UID]pam.UID{}
	for _, p := range pairs {
		if _, done := admins[p.machine]; done {
			continue
		}
		s, err := c.vault.ResourceSettings(ctx, p.machine)
		if err != nil {
			return nil, err
		}
		admins[p.machine] = s.Admin
		for _, cfg := range configs {
			if s.Admin == "" && (cfg.UID == s.Configuration || s.Configuration == "" && len(configs) == 1) {
				admins[p.machine] = cfg.Admin
			}
		}
	}
	return admins, nil
}

// warnOfUse says who logs in to machines with a user whose login or password changes
// in its record: with a wrong one every rotation there is refused.
func (c *call) warnOfUse(ctx context.Context, user pam.Record, changes []pam.Field, gone []fieldSpec) error {
	logsIn := func(name string) bool {
		return slices.Contains([]string{"login", "password"}, strings.ToLower(name))
	}
	touched := slices.ContainsFunc(changes, func(f pam.Field) bool { return logsIn(f.Type) }) ||
		slices.ContainsFunc(gone, func(f fieldSpec) bool { return logsIn(f.Type) })
	if user.Type != pam.TypeUser || !touched {
		return nil
	}
	pairs, err := c.rotationPairs(ctx)
	if err != nil {
		return err
	}
	admins, err := c.adminsOf(ctx, pairs)
	if err != nil {
		return err
	}
	machines, users := map[pam.UID]bool{}, map[pam.UID]bool{}
	for _, p := range pairs {
		if admins[p.machine] == user.UID {
			machines[p.machine], users[p.user] = true, true
		}
	}
	if len(machines) > 0 {
		c.newsf("warning: %s logs in to %d machine(s) for the rotation of %d user(s): they are refused while what is "+
			"in this record is wrong; keyturn pam action gateway-info tries it", titled(user.Title, user.UID), len(machines), len(users))
	}
	return nil
}
