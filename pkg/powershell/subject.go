package powershell

import (
	"errors"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// SubjectAccount is how a machine is asked about an account: login is what the
// record says, id what the authority said of it, as far as it is known. Names
// hold every spelling that certainly names this account and no other.
func SubjectAccount(login string, id pam.Identity) Account {
	local := id.Alias != "" && id.Alias != id.SID
	name := id.Name // the authority's own spelling, once it is known
	if name == "" {
		name = login
	}
	_, sam := pam.SplitName(name)
	a := Account{SIDs: []string{}, Sam: sam}
	if id.SID != "" {
		a.SIDs = append(a.SIDs, id.SID)
	}
	if a.Names = []string{name}; !local || !strings.Contains(name, `\`) {
		a.Names = spellings(name, login, sam)
	}
	a.LogonUser, a.LogonDomain = logonNames(name, local, id.Alias != "")
	if d, _, ok := strings.Cut(name, `\`); ok && d != "." {
		a.TaskUser = name
	}
	return a
}

// logonNames splits a name for LogonUserW. A UPN goes whole and without a
// domain; a name without one is the machine's own account, unless it is known to
// be a domain's.
func logonNames(name string, local, known bool) (user, domain string) {
	domain, sam := pam.SplitName(name)
	switch {
	case strings.Contains(name, `\`):
		return sam, domain
	case domain != "":
		return name, ""
	case known && !local:
		return sam, ""
	}
	return sam, "."
}

// spellings are the names that are compared as text where the machine cannot
// resolve a run-as name. A local account, once resolved, has but one: what else
// looks like it may be a domain's. In a DNS domain DOMAIN\sam and sam@DOMAIN are one.
func spellings(name, login, sam string) []string {
	all := []string{}
	add := func(s string) {
		for _, other := range all {
			if strings.EqualFold(other, s) {
				return
			}
		}
		if s != "" {
			all = append(all, s)
		}
	}
	add(name)
	add(login)
	if name == login { // nobody resolved it: a principal name need not end like the account's
		return all
	}
	domain, user := pam.SplitName(login)
	if strings.Contains(domain, ".") && domain != "." && strings.EqualFold(user, sam) {
		add(domain + `\` + user)
		add(user + "@" + domain)
	}
	return all
}

// NothingRan reports whether a failed [Call] certainly did nothing on the
// machine: the script refused before it began, or never got its whole input.
func NothingRan(err error) bool {
	if fatal, ok := errors.AsType[*FatalError](err); ok {
		return fatal.NothingRan()
	}
	if broken, ok := errors.AsType[*remote.Error](err); ok {
		return !broken.Sent
	}
	// What Call itself finds wrong with a request, it finds before it sends it.
	return errors.Is(err, pam.ErrInvalidInput) || errors.Is(err, pam.ErrInternal)
}
