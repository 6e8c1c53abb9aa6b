package dependency

import (
	"context"
	"errors"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

// owned reads the answer to a look at everyone: what has an owner, and what
// could not be read. Services that merely depend on those are left out.
func (w *windows) owned(a powershell.Answer, kinds []pam.DependencyKind) Inventory {
	owners := map[itemKey]*pam.Owner{}
	for _, line := range a.Items {
		if line.Match != nil && line.Match.Hit {
			owners[keyOf(pam.DependencyKind(line.Kind), line.ID)] = ownerOf(*line.Match)
		}
	}
	inv := w.inventory(a, Subject{}, kinds)
	items := []Item{}
	for _, i := range inv.Items {
		i.Owner = owners[keyOf(i.Kind, i.Name)]
		if i.Owner != nil || i.Unreadable {
			items = append(items, i)
		}
	}
	inv.Items = items
	return inv
}

// ownerOf believes a SID only if it is one: identities are compared by it.
func ownerOf(m powershell.Match) *pam.Owner {
	o := &pam.Owner{Class: class(m.Class), Scope: class(m.Scope)}
	if sid := strings.ToUpper(m.SID); pam.IsSID(sid) {
		o.SID, o.Name = sid, text(m.Name)
	}
	if o.SID == "" || o.Class != "user" && o.Class != "managed" {
		o.Class = "unresolved"
	}
	return o
}

// Facts are what a machine says of itself and of who is logged in.
type Facts struct {
	Host       string `json:"host,omitempty"`
	MachineID  string `json:"machine_id,omitempty"`
	Domain     string `json:"domain,omitempty"`
	DC         bool   `json:"dc,omitempty"`
	User       string `json:"user,omitempty"` // who is logged in
	OS         string `json:"os,omitempty"`
	PowerShell string `json:"powershell,omitempty"`
	Language   string `json:"language,omitempty"` // FullLanguage, or what keeps the script from running
	Elevated   bool   `json:"elevated,omitempty"`
	IIS        bool   `json:"iis,omitempty"`
	Cluster    bool   `json:"cluster,omitempty"`
	// StorageDisabled: the policy that forbids stored passwords, and with them tasks that have one.
	StorageDisabled bool `json:"storage_disabled,omitempty"`
	// LockoutThreshold is the number of failed logons that lock an account; 0 is
	// no lockout, nil is not known.
	LockoutThreshold *int `json:"lockout_threshold,omitempty"`
}

// Ping logs in to a Windows machine and asks what it is. It changes nothing. A
// machine whose PowerShell runs no scripts like ours is no failure: Language
// then says so, and nothing else is known.
func Ping(ctx context.Context, d remote.Dialer, t remote.Target, o Options) (Facts, error) {
	s, err := d.Dial(ctx, t)
	if err != nil {
		return Facts{}, err
	}
	defer func() { _ = s.Close() }() // the answer is what counts
	a, err := powershell.Call(ctx, s, o.Random, powershell.Request{Op: powershell.OpPing}, nil, nil)
	if fatal, ok := errors.AsType[*powershell.FatalError](err); ok && fatal.Class == powershell.ClassConstrained {
		return Facts{Language: "ConstrainedLanguage"}, nil
	}
	if err != nil {
		return Facts{}, err
	}
	return Facts{
		Host: text(a.Hello.Host), MachineID: machineID(a.Machine.GUID), Domain: text(a.Machine.Domain), DC: a.Machine.DC,
		User: text(a.Machine.User), OS: text(a.Hello.OS), PowerShell: text(a.Hello.PS), Language: text(a.Hello.Lang),
		Elevated: a.Hello.Elevated, IIS: a.Hello.IIS, Cluster: a.Hello.Cluster, StorageDisabled: a.Machine.StorageDisabled,
		LockoutThreshold: threshold(a.Machine.LockoutThreshold),
	}, nil
}
