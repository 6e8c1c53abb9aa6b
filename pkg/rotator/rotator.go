// Package rotator changes a password where it is decided: one Rotator for each
// kind of authority. It opens the connections it needs, and Verify logs in as
// the user, not as the admin.
//
// It knows no vault, no job and no command line: secrets arrive as arguments.
package rotator

import (
	"context"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// An Authority is where one account's password is decided, and who may change
// it there.
type Authority struct {
	Kind    pam.AuthorityKind
	Account pam.Account
	Admin   remote.Target // the machine, logged in to as its admin
	Run     pam.UID       // the job, for the target's journal
}

// Findings are what a look at the authority says. Warnings are sentences for
// the plan.
type Findings struct {
	Identity     pam.Identity `json:"identity"`
	Disabled     bool         `json:"disabled,omitempty"`
	Locked       bool         `json:"locked,omitempty"`
	SelfRotation bool         `json:"self_rotation,omitempty"` // the admin is the account itself
	// NeedsCurrent: the current password must be known, unless a reset is allowed.
	NeedsCurrent bool `json:"needs_current,omitempty"`
	// MachineID recognises the machine behind two records: MachineGuid or machine-id.
	MachineID string `json:"machine_id,omitempty"`
	// LockoutThreshold is the number of failed logons that lock the account; 0 is
	// no lockout, nil is not known.
	LockoutThreshold *int     `json:"lockout_threshold,omitempty"`
	BadCount         int      `json:"bad_count,omitempty"` // failed logons counted so far
	Warnings         []string `json:"warnings,omitempty"`
}

// A Change is one password to set. Current may be empty when it is not known.
type Change struct {
	Next       secret.Value
	Current    secret.Value
	Expect     pam.Evidence // re-read right before the change; a difference refuses it as drift
	AllowReset bool
	// Again: Next was in force before, so that a history of passwords refuses a
	// change to it, and not a reset.
	Again bool
}

// A Rotator works at one kind of authority. Errors are *pam.Error or
// *remote.Error; a Set that returns one still says in its Outcome what is known.
type Rotator interface {
	// Check finds rights, policy and lock-out state. It changes nothing.
	Check(ctx context.Context, a Authority) (Findings, error)
	// Evidence marks the password that is now in force.
	Evidence(ctx context.Context, a Authority) (pam.Evidence, error)
	// Set sets the password and says what is known of the outcome. OutcomeUnknown
	// comes with the error that hid the answer.
	Set(ctx context.Context, a Authority, c Change) (pam.Outcome, error)
	// Verify tries password with one logon as the account.
	Verify(ctx context.Context, a Authority, password secret.Value) (pam.Verdict, error)
}

// An Unlocker is a [Rotator] whose authority locks accounts out by itself, after
// wrong passwords, and can let them in again. Its Check tells of a lockout in
// Findings.Locked alone: whether that matters is the caller's to say.
type Unlocker interface {
	Rotator
	// Unlock lets a locked account log on again and changes nothing else of it; one
	// that is not locked is left alone. Doing it twice is doing it once. An error
	// that wraps ErrUnknownOutcome or ErrUnreachable may hide that it was done.
	Unlock(ctx context.Context, a Authority) error
}
