package model

import (
	"slices"
	"strings"

	"keyturn/pkg/secret"
)

// SID is the domain's: S-1-5-21-a-b-c.
func (d *Domain) SID() string { return d.sid }

// Entries are all accounts of a domain as its directory lists them, by name.
func (d *Domain) Entries() []AccountView {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]AccountView, 0, len(d.users))
	for _, a := range d.users {
		all = append(all, d.view(a))
	}
	slices.SortFunc(all, func(a, b AccountView) int { return strings.Compare(a.Sam, b.Sam) })
	return all
}

// Bind is one log-on to the directory, which counts.
func (d *Domain) Bind(sid string, password secret.Value) Errno {
	return d.try(sid, password, LogonNetwork, nil)
}
