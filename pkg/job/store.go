// Package job is the engine: it decides what a rotation does and remembers it,
// step by step, so that a job cut off anywhere is taken up where it stopped.
//
// It knows no transport, no store and not how an executor is reached.
package job

import (
	"context"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// A Store remembers jobs and knows the records they are about. Errors are
// *pam.Error. Barrier methods are durable before they return; the others may be
// grouped into one commit, which the next barrier includes.
type Store interface {
	Ledger
	Past
	Credentials
	Directory
}

// A Ledger is what a job writes down of itself.
type Ledger interface {
	// Job returns a job with its items; ErrNotFound.
	Job(ctx context.Context, id pam.UID) (pam.Job, error)
	// Open (barrier) makes the plan's items the job's before anything changes and
	// returns the job's fence, higher than any before.
	Open(ctx context.Context, job pam.UID, p pam.Plan) (fence int64, err error)
	// SetJob (barrier) saves state, phase, message, times and failure of the job;
	// its items are left alone. A cancel request in the store is kept.
	SetJob(ctx context.Context, j pam.Job) error
	// CancelRequested reports whether somebody asked the job to stop.
	CancelRequested(ctx context.Context, job pam.UID) (bool, error)
	// SaveRestartPlan (barrier) is called before the first stop.
	SaveRestartPlan(ctx context.Context, job pam.UID, p pam.RestartPlan) error
	// RestartPlans returns the job's saved plans by machine.
	RestartPlans(ctx context.Context, job pam.UID) (map[pam.UID]pam.RestartPlan, error)
	// SaveSteps saves what happened to items; deployments move with them.
	SaveSteps(ctx context.Context, steps []pam.Step) error
	// Deployments returns what is known of the account's dependencies.
	Deployments(ctx context.Context, account pam.UID) ([]pam.Deployment, error)
}

// A Past is what a job asks of those before it.
type Past interface {
	// Unsettled returns all jobs, of any account, that are not at a good end, with
	// their items; partial ones that a later job took over are only among them when
	// they left something stopped.
	Unsettled(ctx context.Context) ([]pam.Job, error)
}

// Credentials is the one home of an account's passwords.
type Credentials interface {
	// Identify records what the authority calls the account. If another account
	// has that identity already, the two become one, which is returned; ErrConflict
	// when a job holds the other.
	Identify(ctx context.Context, account pam.UID, id pam.Identity) (pam.Account, error)
	// Generation returns the account's newest generation of that status; ErrNotFound.
	Generation(ctx context.Context, account pam.UID, status pam.GenerationStatus) (pam.Generation, error)
	// Stage (barrier) makes next the account's pending generation of this job.
	// A pending generation of an earlier job is returned in its place: a password
	// that may be live is never discarded. The caller uses what is returned.
	Stage(ctx context.Context, job, account pam.UID, next secret.Value, ev pam.Evidence) (pam.Generation, error)
	// SetOutcome (barrier) records what is known of the set. Refused moves the
	// pending generation to rejected.
	SetOutcome(ctx context.Context, job pam.UID, o pam.Outcome, ev pam.Evidence) error
	// Unlocking (barrier) notes that the job is about to unlock its account.
	Unlocking(ctx context.Context, job pam.UID) error
	// Commit (barrier): pending becomes current, current becomes previous.
	// VerdictCannotTell commits as unverified.
	Commit(ctx context.Context, job pam.UID, v pam.Verdict) error
}

// A Directory is what the engine reads of the vault's records.
type Directory interface {
	// User returns a pamUser's rotation settings and account; ErrInvalidInput
	// when it has no rotation settings.
	User(ctx context.Context, user pam.UID) (pam.RotationSettings, pam.Account, error)
	// Machine returns a pamMachine record read as a machine.
	Machine(ctx context.Context, machine pam.UID) (pam.Machine, error)
	// Admin returns who logs in to a machine: its own admin, else its
	// configuration's; ErrInvalidInput names both commands that set one.
	Admin(ctx context.Context, machine pam.UID) (pam.Login, error)
	// Mappings returns the user's mappings; those that are switched off are marked.
	Mappings(ctx context.Context, user pam.UID) ([]pam.Mapping, error)
	// HostKeys returns the accepted SSH host keys of a machine.
	HostKeys(ctx context.Context, machine pam.UID) ([]string, error)
}
