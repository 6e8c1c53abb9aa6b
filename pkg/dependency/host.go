// Package dependency is one Windows machine as a whole: look at what runs as an
// account, prove a new password there, update every stored credential, restart
// what was running and repair what a cut run left stopped; and, apart from any
// machine, the restart plan made from what was seen.
//
// It knows no vault, no job and no transport: it speaks the contract of
// pkg/powershell over a remote.Session.
package dependency

import (
	"context"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// A Host is one machine. A Host holds one session and is used by one goroutine.
type Host interface {
	// Look takes an inventory. It changes nothing.
	Look(ctx context.Context, r LookRequest) (Inventory, error)
	// Update proves next with a logon of each needed type, then stores it with
	// every item, and answers with a fresh inventory. on hears each item as it ends.
	Update(ctx context.Context, r UpdateRequest, next secret.Value, on func(ItemResult)) (Update, error)
	// Restart carries out a plan that is durable elsewhere. It needs no secret.
	Restart(ctx context.Context, run pam.UID, p pam.RestartPlan, on func(ItemResult)) error
	// Repair starts what p stopped and is stopped still.
	Repair(ctx context.Context, run pam.UID, p pam.RestartPlan, on func(ItemResult)) error
	Close() error
}

// A Subject is the account that the machine is asked about.
type Subject struct {
	Login    string       `json:"login"` // as the record says: LAB\svc_app
	Identity pam.Identity `json:"identity"`
	Local    bool         `json:"local,omitempty"` // an account of the authority machine alone, not of a domain
}

// A LookRequest asks for everything that runs as the subject, or as anyone.
type LookRequest struct {
	Run     pam.UID              `json:"run"`
	Subject Subject              `json:"subject"`
	Kinds   []pam.DependencyKind `json:"kinds"`
	// Everyone asks, in place of a subject, for all that runs as an account with
	// a password or as one that the machine does not know: items have an Owner.
	Everyone bool `json:"everyone,omitempty"`
}

// An UpdateRequest names what to update; items that run as somebody else by now
// are left alone.
type UpdateRequest struct {
	Run     pam.UID              `json:"run"`
	Subject Subject              `json:"subject"`
	Kinds   []pam.DependencyKind `json:"kinds"`
	Items   []Item               `json:"items"`
	// GrantRights gives the subject the right to log on as a service or batch job
	// on a machine that lacks it.
	GrantRights bool `json:"grant_rights,omitempty"`
}

// An Inventory is what a look saw.
type Inventory struct {
	MachineID        string    `json:"machine_id"` // MachineGuid: two records of one machine share it
	Host             string    `json:"host"`       // its own name
	Domain           string    `json:"domain,omitempty"`
	DC               bool      `json:"dc,omitempty"`
	User             string    `json:"user,omitempty"`
	LockoutThreshold *int      `json:"lockout_threshold,omitempty"`
	Subject          Resolved  `json:"subject"`
	Items            []Item    `json:"items"` // targets, and the dependents of targets
	Reports          []Report  `json:"reports,omitempty"`
	Warnings         []string  `json:"warnings,omitempty"`
	Seen             time.Time `json:"seen"`
}

// A Report is a use of the account's password that is told and never touched: a
// process that no item explains, a COM+ application, a DCOM server, an IIS
// configuration that other machines share.
type Report struct {
	Class string `json:"class"` // an error class of the contract
	Name  string `json:"name"`  // process id, name of the application, {AppID}, folder
	Text  string `json:"text"`  // the whole of it, for people
}

// Resolved is the subject as this machine resolves it.
type Resolved struct {
	SID   string `json:"sid,omitempty"`
	Name  string `json:"name,omitempty"`
	Class string `json:"class,omitempty"`
	Scope string `json:"scope,omitempty"`
}

// An Item is one service, task or pool as it was seen.
type Item struct {
	Kind       pam.DependencyKind `json:"kind"`
	Name       string             `json:"name"`
	Display    string             `json:"display,omitempty"`
	RunAs      string             `json:"run_as"`
	Target     bool               `json:"target"`               // runs as the subject, and stores its password
	Skip       string             `json:"skip,omitempty"`       // why it is not updated: an error class
	NoRestart  string             `json:"no_restart,omitempty"` // why it must keep running, though it takes the password: an error class
	State      string             `json:"state"`                // Running, Stopped, Paused, Ready, Started, unknown, ...
	StartMode  string             `json:"start_mode"`           // Auto, Manual, Disabled
	PID        int                `json:"pid,omitempty"`
	Started    time.Time          `json:"started"`
	CanStop    bool               `json:"can_stop,omitempty"`
	CanPause   bool               `json:"can_pause,omitempty"`
	Own        bool               `json:"own,omitempty"`
	DependsOn  []string           `json:"depends_on,omitempty"`
	Dependents []string           `json:"dependents,omitempty"`
	LogonType  string             `json:"logon_type,omitempty"`
	Workers    []int              `json:"workers,omitempty"`
	Clustered  bool               `json:"clustered,omitempty"`
	// Unreadable marks what could not be read, with Skip as the reason: a task, or
	// under the name `\` or `*` every task or pool of the machine.
	Unreadable bool `json:"unreadable,omitempty"`
	// Owner is who it runs as; only of a look at everyone.
	Owner *pam.Owner `json:"owner,omitempty"`
}

// An ItemResult is one thing that happened to one item.
type ItemResult struct {
	Phase   pam.Phase          `json:"phase"`
	Kind    pam.DependencyKind `json:"kind"`
	Name    string             `json:"name"`
	Status  pam.Status         `json:"status"`
	Reason  string             `json:"reason,omitempty"`
	Before  pam.Snapshot       `json:"before"`
	After   pam.Snapshot       `json:"after"`
	Error   *pam.ItemError     `json:"error,omitempty"`
	Took    time.Duration      `json:"took,omitempty"`
	Started time.Time          `json:"started"` // start of the new process, when there is one
}

// A Proof is one logon with the new password on the machine.
type Proof struct {
	Type       int  `json:"type"` // LogonUser: 3 network, 4 batch, 5 service
	Code       int  `json:"code"` // 0 or the Windows error
	PasswordOK bool `json:"password_ok"`
	Granted    bool `json:"granted"`
}

// An Update is what Update did and then saw. When a proof says that the
// password is not accepted, nothing was written: Rejected is true and every
// result is pending.
type Update struct {
	Proofs    []Proof      `json:"proofs"`
	Rejected  bool         `json:"rejected,omitempty"`
	Results   []ItemResult `json:"results"`
	Inventory Inventory    `json:"inventory"`
}
