// Package executor does single operations on targets: it logs in, calls a
// rotator or a host, and answers. It decides nothing and remembers nothing but
// op ids and fences, so that a remote executor is a transport and not a second
// engine.
//
// It knows no job, no mapping and no vault.
package executor

import (
	"context"

	"keyturn/pkg/dependency"
	"keyturn/pkg/directory"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
	"keyturn/pkg/secret"
)

// An Op is one operation. The same ID is the same op: sent twice, done once.
type Op struct {
	ID      pam.UID
	Lane    string         // the account or machine it may change; one op at a time
	Fence   int64          // an op with a lower fence than the lane has seen is refused
	Request Request        // marshals; holds no secret
	Secrets []secret.Value // referred to by index from the request
}

// A Request is one of the request types of this package.
type Request interface{ verb() string }

// A Login is who logs in: the secrets are indexes into Op.Secrets, -1 for none.
type Login struct {
	User       string `json:"user"`
	Password   int    `json:"password"`
	PrivateKey int    `json:"private_key"`
	// Passphrase is PrivateKey's. The first secret is never one, so that 0 is none.
	Passphrase int `json:"passphrase,omitempty"`
	// Agent asks for the SSH agent of whoever runs the executor: "on" or a
	// fingerprint.
	Agent string `json:"agent,omitempty"`
}

// An Authority is where an account's password is decided.
type Authority struct {
	Kind     pam.AuthorityKind `json:"kind"`
	Account  pam.Account       `json:"account"`
	Endpoint remote.Endpoint   `json:"endpoint"`
	Login    Login             `json:"login"`
	Run      pam.UID           `json:"run"`
}

// A Machine is where dependencies are.
type Machine struct {
	UID      pam.UID         `json:"uid"`
	Endpoint remote.Endpoint `json:"endpoint"`
	Login    Login           `json:"login"`
}

// The requests, one for each verb.
type (
	// Check asks for the findings at an authority.
	Check struct {
		Authority Authority `json:"authority"`
	}
	// ReadEvidence asks for the evidence at an authority.
	ReadEvidence struct {
		Authority Authority `json:"authority"`
	}
	// Set sets a password: Next and Current are indexes into Op.Secrets.
	Set struct {
		Authority  Authority    `json:"authority"`
		Next       int          `json:"next"`
		Current    int          `json:"current"` // -1: not known
		Expect     pam.Evidence `json:"expect"`
		AllowReset bool         `json:"allow_reset,omitempty"`
		Again      bool         `json:"again,omitempty"` // the password was in force before
	}
	// Unlock lets an account that is locked out log on again.
	Unlock struct {
		Authority Authority `json:"authority"`
	}
	// Verify tries one password with one logon as the account.
	Verify struct {
		Authority Authority `json:"authority"`
		Password  int       `json:"password"`
	}
	// Look takes the inventory of a machine.
	Look struct {
		Machine Machine                `json:"machine"`
		Look    dependency.LookRequest `json:"look"`
	}
	// Update proves a password and stores it with the items.
	Update struct {
		Machine Machine                  `json:"machine"`
		Update  dependency.UpdateRequest `json:"update"`
		Next    int                      `json:"next"`
	}
	// Restart carries out a restart plan.
	Restart struct {
		Machine Machine         `json:"machine"`
		Run     pam.UID         `json:"run"`
		Plan    pam.RestartPlan `json:"plan"`
	}
	// Ping asks what a machine is, and what its admin may do there.
	Ping struct {
		Machine Machine           `json:"machine"`
		Kind    pam.AuthorityKind `json:"kind"`
	}
	// Repair starts what a cut restart left stopped.
	Repair struct {
		Machine Machine         `json:"machine"`
		Run     pam.UID         `json:"run"`
		Plan    pam.RestartPlan `json:"plan"`
	}
)

func (Check) verb() string        { return "check" }
func (ReadEvidence) verb() string { return "evidence" }
func (Set) verb() string          { return "set" }
func (Unlock) verb() string       { return "unlock" }
func (Verify) verb() string       { return "verify" }
func (Look) verb() string         { return "look" }
func (Update) verb() string       { return "update" }
func (Restart) verb() string      { return "restart" }
func (Repair) verb() string       { return "repair" }
func (Ping) verb() string         { return "ping" }

// An Event is news of an op under way: one item ended one phase.
type Event struct {
	Item dependency.ItemResult
}

// A Result is the answer of an op: the field of its verb is set.
type Result struct {
	State     QueryState           `json:"state"`
	Findings  rotator.Findings     `json:"findings"`
	Evidence  pam.Evidence         `json:"evidence"`
	Outcome   pam.Outcome          `json:"outcome,omitempty"`
	Verdict   pam.Verdict          `json:"verdict,omitempty"`
	Inventory dependency.Inventory `json:"inventory"`
	Update    dependency.Update    `json:"update"`
	Facts     dependency.Facts     `json:"facts"`
	Root      string               `json:"root,omitempty"` // Linux: how the admin becomes root
	Domain    directory.Domain     `json:"domain"`         // of a directory
	// LoggedIn reports that the admin's log-in was accepted, whatever came
	// after: the engine's ration of log-ins asks for it.
	LoggedIn bool `json:"logged_in,omitempty"`
}

// A QueryState is what an executor knows of an op id.
type QueryState string

// The states. NeverSeen proves nothing after a restart of the executor.
const (
	OpDone      QueryState = "done"
	OpRunning   QueryState = "running"
	OpNeverSeen QueryState = "never_seen"
)

// An Executor does ops. It is safe for concurrent use; ops of one lane run one
// after another. Errors are *pam.Error or *remote.Error; a failed Do still
// returns what is known (Outcome, LoggedIn).
type Executor interface {
	Do(ctx context.Context, op Op, on func(Event)) (Result, error)
	Query(ctx context.Context, id pam.UID) (Result, error)
}
