package pam

import (
	"slices"
	"strings"
	"time"
)

// MappingKinds is a set of what a mapping covers. It is a bit set so that
// mappings compare and merge plainly.
type MappingKinds uint8

// The kinds a mapping can cover, in the order they are shown.
const (
	MapServices MappingKinds = 1 << iota
	MapTasks
	MapIIS
	MapAll = MapServices | MapTasks | MapIIS
)

var mappingKinds = []struct {
	kind        MappingKinds
	flag, label string
	covers      []DependencyKind
}{
	{MapServices, "service", "Services", []DependencyKind{KindService}},
	{MapTasks, "task", "Scheduled Tasks", []DependencyKind{KindTask}},
	// Lists keep the short label; what logs on for IIS beside its pools is covered too.
	{MapIIS, "iis", "IIS Pools", []DependencyKind{KindPool, KindVdir, KindAnonymous}},
}

// ParseMappingKind reads the value of -t. The error is ErrUsage.
func ParseMappingKind(s string) (MappingKinds, error) {
	for _, k := range mappingKinds {
		if strings.EqualFold(s, k.flag) {
			return k.kind, nil
		}
	}
	return 0, Errorf(ErrUsage, "unknown type %q: it is service, task or iis", s)
}

// Types are the -t words of the set, in order.
func (k MappingKinds) Types() []string {
	words := []string{}
	for _, m := range mappingKinds {
		if k&m.kind != 0 {
			words = append(words, m.flag)
		}
	}
	return words
}

// Label is how lists show the set: "Services, Scheduled Tasks, IIS Pools".
func (k MappingKinds) Label() string {
	var labels []string
	for _, m := range mappingKinds {
		if k&m.kind != 0 {
			labels = append(labels, m.label)
		}
	}
	return strings.Join(labels, ", ")
}

// Dependencies are the kinds of dependency the set covers.
func (k MappingKinds) Dependencies() []DependencyKind {
	var kinds []DependencyKind
	for _, m := range mappingKinds {
		if k&m.kind != 0 {
			kinds = append(kinds, m.covers...)
		}
	}
	return kinds
}

// A Mapping is intent: what runs as this user on that machine follows the
// user's password.
type Mapping struct {
	User    UID          `json:"user"`
	Machine UID          `json:"machine"`
	Kinds   MappingKinds `json:"kinds"` // zero removes the mapping
	// Disabled says, in what a store returns, that its user or its machine is
	// switched off: rotations leave the mapping out. It is not stored with it.
	Disabled bool `json:"-"`
}

// A DependencyKind is a kind of thing that stores a credential on a machine.
// The words are those of the script contract.
type DependencyKind string

// The kinds. KindAccount is the account itself at its authority, KindMachine a
// machine as a whole: they appear in jobs, not in inventories.
const (
	KindService DependencyKind = "service"
	KindTask    DependencyKind = "task"
	KindPool    DependencyKind = "iis_pool"
	// KindVdir is a virtual directory that connects as somebody, KindAnonymous whom
	// anonymous requests run as. Neither is ever restarted: IIS logs on with what is
	// stored when it needs to.
	KindVdir      DependencyKind = "iis_vdir"
	KindAnonymous DependencyKind = "iis_anon"
	KindAccount   DependencyKind = "account"
	KindMachine   DependencyKind = "machine"
)

// KindRank orders kinds in lists: the account, the machine, then what depends.
func KindRank(k DependencyKind) int {
	return slices.Index([]DependencyKind{
		KindAccount, KindMachine, KindService, KindTask, KindPool, KindVdir, KindAnonymous,
	}, k)
}

// Label is the kind in words for people.
func (k DependencyKind) Label() string {
	switch k {
	case KindService:
		return "service"
	case KindTask:
		return "scheduled task"
	case KindPool:
		return "IIS pool"
	case KindVdir:
		return "IIS virtual directory"
	case KindAnonymous:
		return "IIS anonymous user"
	default:
		return string(k)
	}
}

// A Deployment is the fact of which generation a dependency was last confirmed
// to hold. It outlives jobs: a machine that was down is found by its old number.
type Deployment struct {
	Account    UID              `json:"account"`
	Machine    UID              `json:"machine"`
	Kind       DependencyKind   `json:"kind"`
	Name       string           `json:"name"`
	Generation int              `json:"generation"`
	Status     DeploymentStatus `json:"status"`
	Seen       time.Time        `json:"seen"`

	// Held is the generation that the dependency was last confirmed to hold, and
	// Confirmed when that was; later failures leave them alone. Zero: never. State
	// is the state it was last seen in. The store keeps all three.
	Held      int       `json:"held,omitempty"`
	Confirmed time.Time `json:"confirmed,omitzero"`
	State     string    `json:"state,omitempty"`
}

// A KnownDependency is a deployment beside what it is compared with.
type KnownDependency struct {
	Deployment
	AccountName string
	Users       []UID // the records that name the account
	Current     int   // the account's present generation; 0 when it has none
}

// Standing says whether the dependency holds the account's present password:
// "current" when that was confirmed, "unknown" when an update was cut off, else "stale".
func (k KnownDependency) Standing() string {
	switch {
	case k.Status == DeploymentUnknown:
		return string(DeploymentUnknown)
	case k.Status == DeploymentConfirmed && k.Held >= k.Current:
		return string(Current)
	default:
		return string(DeploymentStale)
	}
}

// A DeploymentStatus says how sure a deployment is.
type DeploymentStatus string

// The statuses.
const (
	DeploymentConfirmed DeploymentStatus = "confirmed" // updated, and proven or restarted
	DeploymentStale     DeploymentStatus = "stale"     // holds an older generation
	DeploymentUnknown   DeploymentStatus = "unknown"   // an update was cut off
)
