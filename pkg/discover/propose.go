package discover

import (
	"cmp"
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// A Proposal is a mapping that a discovery justifies: the account of exactly one
// user's record runs this on that machine. Kinds holds only what is not mapped.
type Proposal struct {
	User    pam.UID
	Machine pam.UID
	Title   string // the machine's
	Kinds   pam.MappingKinds
	Items   []pam.FoundItem
}

// A Leftover is what runs on a machine as one account and is not proposed.
type Leftover struct {
	Machine    pam.UID
	Title      string
	Account    string // as the machine spells it; as it is stored where it knows no such account
	SID        string
	Reason     Reason
	Candidates []pam.UID // records that may be meant
	Items      []pam.FoundItem
}

// A Reason is why something is not proposed.
type Reason string

// The reasons.
const (
	ReasonMapped       Reason = "mapped"               // nothing to do
	ReasonUnknown      Reason = "unknown_account"      // no record names it
	ReasonNotRotated   Reason = "no_rotation_settings" // a record has that login, and no authority to ask who it is
	ReasonUnidentified Reason = "not_identified"       // a record has that login, and its authority could not be asked
	ReasonSeveral      Reason = "several_records"      // more than one record names the account
	ReasonAmbiguous    Reason = "ambiguous_identity"   // a name that the machine cannot resolve, and that looks like a record's
	ReasonUnresolved   Reason = "unresolved"           // a name that the machine cannot resolve
	ReasonManaged      Reason = "managed_account"      // Windows itself looks after its password
	ReasonAdmin        Reason = "admin_account"        // it logs in to this machine: a job does not change the password it works with
	ReasonTwin         Reason = "same_machine"         // another record names this machine too
	ReasonNoPassword   Reason = "no_stored_password"   // nothing of it stores a password
	ReasonUnreadable   Reason = "unreadable"           // who it runs as could not be read
)

// A Known is a pamUser record that runs may be attributed to.
type Known struct {
	User  pam.UID
	Login string
}

// Propose compares what a discovery found with the users' accounts and the
// present mappings. It decides by identity: the SID of a domain account, the SID
// with its machine of a local one. What merely has the same name is left over,
// with its candidates. The order is that of machines by title, then accounts.
func Propose(d pam.Discovery, findings []pam.Finding, known []Known, mappings []pam.Mapping) ([]Proposal, []Leftover) {
	b := book{known: known, mappings: mappings, identities: map[string][]pam.UID{}, problems: map[pam.UID]bool{}, asked: map[pam.UID]bool{}}
	for _, u := range d.Users {
		b.asked[u.User] = true
		if u.Identity.Alias == "" {
			b.problems[u.User] = true
			continue
		}
		key := strings.ToLower(u.Identity.Alias)
		b.identities[key] = append(b.identities[key], u.User)
	}
	findings = slices.Clone(findings)
	slices.SortStableFunc(findings, func(x, y pam.Finding) int {
		return cmp.Or(strings.Compare(strings.ToLower(x.Title), strings.ToLower(y.Title)), cmp.Compare(x.Machine, y.Machine))
	})
	b.twins(findings)
	for _, f := range findings {
		b.machine(f)
	}
	return b.proposals, b.left
}

// A book is a comparison under way.
type book struct {
	known      []Known
	mappings   []pam.Mapping
	identities map[string][]pam.UID // users by the alias of their account
	problems   map[pam.UID]bool     // users whose account is not known
	asked      map[pam.UID]bool     // users that the discovery asked for
	records    map[string][]pam.UID // machine records by machine id
	proposals  []Proposal
	left       []Leftover
}

func (b *book) twins(findings []pam.Finding) {
	b.records = map[string][]pam.UID{}
	for _, f := range findings {
		if f.MachineID != "" {
			b.records[f.MachineID] = append(b.records[f.MachineID], f.Machine)
		}
	}
}

// machine judges one machine, account by account.
func (b *book) machine(f pam.Finding) {
	if same := b.records[f.MachineID]; len(same) > 1 && same[0] != f.Machine {
		if len(f.Items) > 0 {
			b.left = append(b.left, Leftover{Machine: f.Machine, Title: f.Title, Reason: ReasonTwin, Items: f.Items})
		}
		return
	}
	groups := map[string][]pam.FoundItem{}
	for _, i := range f.Items {
		key := ownerKey(i)
		groups[key] = append(groups[key], i)
	}
	keys := make([]string, 0, len(groups))
	for key := range groups {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		b.account(f, groups[key])
	}
}

// ownerKey tells accounts of one machine apart, sorted by name. Windows may look
// after the password of an account for one service and not for the rest: the
// class is part of the key.
func ownerKey(i pam.FoundItem) string {
	o := i.Owner
	if o.SID == "" {
		return strings.Join([]string{strings.ToLower(i.RunAs), o.Class}, "\x00")
	}
	return strings.Join([]string{strings.ToLower(o.Name), o.SID, o.Class, o.Scope}, "\x00")
}

// account judges what runs on one machine as one account.
func (b *book) account(f pam.Finding, items []pam.FoundItem) {
	owner := items[0].Owner
	l := Leftover{Machine: f.Machine, Title: f.Title, Account: cmp.Or(owner.Name, items[0].RunAs, owner.SID), SID: owner.SID, Items: items}
	user, reason, candidates := b.attribute(f, items[0])
	storing := storing(items)
	mapped := b.mapped(f, user)
	switch missing := kindsOf(storing) &^ mapped; {
	case reason != "":
		l.Reason, l.Candidates = reason, candidates
	case len(storing) == 0:
		l.Reason, l.Candidates = ReasonNoPassword, []pam.UID{user}
	case missing == 0:
		l.Reason, l.Candidates = ReasonMapped, []pam.UID{user}
	default:
		b.proposals = append(b.proposals, Proposal{
			User: user, Machine: f.Machine, Title: f.Title, Kinds: missing, Items: ofKinds(storing, missing),
		})
		return
	}
	b.left = append(b.left, l)
}

// attribute says whose an item is: one user, or a reason why that is not known.
func (b *book) attribute(f pam.Finding, i pam.FoundItem) (user pam.UID, reason Reason, candidates []pam.UID) {
	o := i.Owner
	switch {
	case o.Class == "" && i.Skip != "":
		return "", ReasonUnreadable, nil
	case o.Class == "managed":
		return "", ReasonManaged, nil
	case o.Class != "user":
		if candidates = b.named(i.RunAs, looksLike); len(candidates) > 0 {
			return "", ReasonAmbiguous, candidates
		}
		return "", ReasonUnresolved, nil
	}
	switch users := b.identities[strings.ToLower(alias(f, o))]; {
	case len(users) > 1:
		return b.oneOf(f, users)
	case len(users) == 1 && strings.EqualFold(o.Name, f.Admin):
		return "", ReasonAdmin, users
	case len(users) == 1:
		return users[0], "", nil
	}
	reason, candidates = b.unclaimed(o.Name)
	return "", reason, candidates
}

// unclaimed says why no user has the account of that name: records with its
// login may be meant, and are not known to be.
func (b *book) unclaimed(name string) (reason Reason, candidates []pam.UID) {
	candidates = b.named(name, strings.EqualFold)
	for _, c := range candidates {
		if !b.asked[c] {
			return ReasonNotRotated, candidates
		}
		if b.problems[c] {
			return ReasonUnidentified, candidates
		}
	}
	return ReasonUnknown, nil // records with that login name other accounts
}

// oneOf is the user that is mapped on the machine already, if several records
// name the account; which of them is meant is not for us to say.
func (b *book) oneOf(f pam.Finding, users []pam.UID) (user pam.UID, reason Reason, candidates []pam.UID) {
	for _, u := range users {
		if b.mapped(f, u) != 0 {
			return u, "", nil
		}
	}
	return "", ReasonSeveral, users
}

// alias is what the authority of an account would call it: see pam.Identity.
func alias(f pam.Finding, o pam.Owner) string {
	if o.Scope != "local" {
		return o.SID
	}
	return f.MachineID + "/" + o.SID
}

// mapped is what of the machine follows the user already, under any of the
// records that name it.
func (b *book) mapped(f pam.Finding, user pam.UID) pam.MappingKinds {
	machines := b.records[f.MachineID]
	if f.MachineID == "" {
		machines = []pam.UID{f.Machine}
	}
	var kinds pam.MappingKinds
	for _, m := range b.mappings {
		if m.User == user && slices.Contains(machines, m.Machine) {
			kinds |= m.Kinds
		}
	}
	return kinds
}

// named are the records whose login is like name.
func (b *book) named(name string, like func(login, name string) bool) []pam.UID {
	var users []pam.UID
	for _, k := range b.known {
		if name != "" && like(k.Login, name) {
			users = append(users, k.User)
		}
	}
	return users
}

// looksLike compares all that two names can share when nobody resolves them.
func looksLike(login, name string) bool {
	_, a := pam.SplitName(login)
	_, b := pam.SplitName(name)
	return a != "" && strings.EqualFold(a, b)
}

// storing are the items that a rotation would update.
func storing(items []pam.FoundItem) []pam.FoundItem {
	var stored []pam.FoundItem
	for _, i := range items {
		if i.Skip == "" {
			stored = append(stored, i)
		}
	}
	return stored
}

// kindsOf is what a mapping must cover to reach the items.
func kindsOf(items []pam.FoundItem) pam.MappingKinds {
	var kinds pam.MappingKinds
	for _, i := range items {
		kinds |= covering(i.Kind)
	}
	return kinds
}

func covering(kind pam.DependencyKind) pam.MappingKinds {
	for _, k := range []pam.MappingKinds{pam.MapServices, pam.MapTasks, pam.MapIIS} {
		if slices.Contains(k.Dependencies(), kind) {
			return k
		}
	}
	return 0
}

func ofKinds(items []pam.FoundItem, kinds pam.MappingKinds) []pam.FoundItem {
	var own []pam.FoundItem
	for _, i := range items {
		if covering(i.Kind)&kinds != 0 {
			own = append(own, i)
		}
	}
	return own
}
