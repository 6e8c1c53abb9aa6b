package pam

import "time"

// A JobState is where a job stands, in the words of job-info.
type JobState string

// The states. JobOpen is a running job whose runner is gone: resume ends it.
const (
	JobQueued    JobState = "queued"
	JobRunning   JobState = "running"
	JobFinished  JobState = "finished"
	JobPartial   JobState = "partial"
	JobFailed    JobState = "failed" // nothing changed
	JobCancelled JobState = "cancelled"
	JobOpen      JobState = "open"
)

// Terminal reports whether nothing more will happen in this state. A partial
// job is terminal: the next rotate, or resume, brings its machines up to date.
func (s JobState) Terminal() bool {
	return s == JobFinished || s == JobPartial || s == JobFailed || s == JobCancelled
}

// A Phase is a part of a job's life. Phases only move forward.
type Phase string

// The phases of a job, in order.
const (
	PhaseLook    Phase = "look"    // harmless
	PhaseChange  Phase = "change"  // staged: a new password may be live at the authority
	PhaseUpdate  Phase = "update"  // committed: stored credentials are being updated
	PhaseRestart Phase = "restart" // what was running is restarted
	PhaseRepair  Phase = "repair"  // what a cut run left stopped is started
	PhaseDone    Phase = "done"
)

// A Job is one rotation of one account, as the vault remembers it.
type Job struct {
	ID          UID           `json:"id"`
	User        UID           `json:"user"`
	UserTitle   string        `json:"user_title"`
	Account     UID           `json:"account"`
	AccountName string        `json:"account_name"`
	Gateway     UID           `json:"gateway"`
	Options     JobOptions    `json:"options"`
	Errand      Errand        `json:"errand,omitempty"` // what it was taken up again for
	State       JobState      `json:"state"`
	Phase       Phase         `json:"phase"`
	Fence       int64         `json:"fence"`
	Generation  int           `json:"generation,omitempty"` // staged, then committed
	Outcome     Outcome       `json:"outcome,omitempty"`
	Verdict     Verdict       `json:"verdict,omitempty"`
	Committed   bool          `json:"committed,omitempty"`
	Cancel      bool          `json:"cancel,omitempty"` // somebody asked; honoured until Stage
	Created     time.Time     `json:"created"`
	Abandoned   bool          `json:"abandoned,omitempty"` // partial, and somebody gave up what is left
	Queued      time.Time     `json:"queued,omitzero"`     // when it last began to wait for a runner, if that was later
	Started     time.Time     `json:"started"`
	Finished    time.Time     `json:"finished"`
	Window      time.Duration `json:"window,omitempty"` // from set to the last reachable machine updated
	Message     string        `json:"message,omitempty"`
	Hint        string        `json:"hint,omitempty"`
	Failure     Kind          `json:"failure,omitempty"`  // decides the exit code; "" is success
	Warnings    []string      `json:"warnings,omitempty"` // of its newest look, for people
	Notes       []string      `json:"notes,omitempty"`    // what it does besides giving a new password, or instead; for people
	Items       []Item        `json:"items"`

	// SupersededBy is the account's later job whose password replaced this one's; ""
	// is none. It is found out when a job is read, and not for one that runs.
	SupersededBy UID `json:"-"`
	// LeftStopped: something stands still since this job, which a later one does not
	// start. Found out for a job that is superseded.
	LeftStopped bool `json:"-"`
}

// Overtaken reports whether a later job took the place of this one, and nothing is
// left to do in it.
func (j Job) Overtaken() bool { return j.SupersededBy != "" && !j.LeftStopped }

// ExitCode is the process exit code of a job in its present state.
func (j Job) ExitCode() int {
	switch {
	case j.Failure != "":
		return j.Failure.Code()
	case j.State == JobFinished:
		return 0
	case j.State == JobCancelled:
		return ErrInterrupted.Code()
	case j.State == JobFailed:
		return 1
	default:
		return ErrPartial.Code()
	}
}

// An Errand is what a job that has ended is taken up again for.
type Errand string

// The errands. Those of restarts touch no password.
const (
	ErrandAll        Errand = ""            // all that is left
	ErrandRetry      Errand = "retry"       // what failed, and no more
	ErrandRestart    Errand = "restart"     // the restarts that were left, in the window if there is one
	ErrandRestartNow Errand = "restart_now" // the same, whatever the window says
)

// Restarts reports whether the errand is restarts alone.
func (e Errand) Restarts() bool { return e == ErrandRestart || e == ErrandRestartNow }

// JobOptions are what the command line asks of one job.
type JobOptions struct {
	SkipUnreachable bool   `json:"skip_unreachable,omitempty"` // any number of machines
	NoRestart       bool   `json:"no_restart,omitempty"`
	AllowReset      bool   `json:"allow_reset,omitempty"`  // local account whose old password is not known
	Unlock          bool   `json:"unlock,omitempty"`       // let an account that is locked out in again
	GrantRights     bool   `json:"grant_rights,omitempty"` // give the account the logon rights that its services and tasks lack
	Policy          Policy `json:"policy,omitzero"`        // overrides the account's
	// To is [Previous] for a job that sets the account's previous password again;
	// "" makes a new one.
	To             GenerationStatus `json:"to,omitempty"`
	MaxConcurrency int              `json:"max_concurrency,omitempty"`
	// Approved is the plan that the job was started with: it runs only while
	// reality is still the plan's.
	Approved *Plan `json:"approved,omitempty"`
	// PlanHash names the file that Approved is from: it is run once.
	PlanHash string `json:"plan_hash,omitempty"`
	// Settle is how long a restarted service must keep running to count as
	// restarted; 0 is the script contract's 5 s.
	Settle time.Duration `json:"settle,omitempty"`
}

// A Status is what became of one item in one phase, in the words of the script
// contract.
type Status string

// The statuses.
const (
	StatusPending Status = "pending" // not reached yet, or deliberately not tried
	StatusOK      Status = "ok"
	StatusNoop    Status = "noop" // already as wanted
	StatusSkipped Status = "skipped"
	StatusFailed  Status = "failed"
	StatusTimeout Status = "timeout"
	StatusUnknown Status = "unknown" // sent, and no answer
	// StatusDeferred is a restart that waits for its window.
	StatusDeferred Status = "deferred"
)

// Done reports whether the item needs nothing more in this phase.
func (s Status) Done() bool { return s == StatusOK || s == StatusNoop || s == StatusSkipped }

// An Action is what a plan means to do with an item.
type Action string

// The actions.
const (
	ActionSet           Action = "set" // the account's password at its authority
	ActionUpdate        Action = "update"
	ActionUpdateRestart Action = "update+restart"
	ActionRestart       Action = "restart" // a dependent of something restarted: its credential is another's
	ActionSkip          Action = "skip"
)

// A Snapshot is the state of an item at one moment.
type Snapshot struct {
	RunAs     string `json:"run_as,omitempty"`
	State     string `json:"state,omitempty"`
	StartMode string `json:"start_mode,omitempty"`
}

// An ItemError says what went wrong with an item: Class is one of spec'd error
// classes of the script contract, Native the code of the operating system.
type ItemError struct {
	Class   string `json:"class"`
	Native  int64  `json:"native,omitempty"`
	Message string `json:"message,omitempty"`
}

// An Item is one thing a job is about: the account, a machine, or a dependency
// on a machine. Machine, Kind and Name key it within its job.
type Item struct {
	Machine      UID            `json:"machine"`
	MachineTitle string         `json:"machine_title"`
	Kind         DependencyKind `json:"kind"`
	Name         string         `json:"name"`
	Phase        Phase          `json:"phase"`
	Status       Status         `json:"status"`
	Action       Action         `json:"action"`
	Reason       string         `json:"reason,omitempty"`
	Before       Snapshot       `json:"before"`
	After        Snapshot       `json:"after"`
	Error        *ItemError     `json:"error,omitempty"`
	Took         time.Duration  `json:"took,omitempty"`
	Updated      bool           `json:"updated,omitempty"` // holds the job's generation
	Workers      []int          `json:"workers,omitempty"` // of a pool, from before anything was sent to it
	Left         *Process       `json:"left,omitempty"`    // its restart was left for later: this still runs with the old password
}

// LeftStopped reports whether the item's restart was begun and did not end: it may
// stand still. One that was left running for later does not.
func (i Item) LeftStopped() bool {
	waits := i.Left != nil && (i.Status == StatusDeferred || i.Status == StatusPending)
	return (i.Phase == PhaseRestart || i.Phase == PhaseRepair) && !i.Status.Done() && !waits
}

// A Process is what an item ran in at one moment: a service's process, or a
// pool's workers.
type Process struct {
	PID     int       `json:"pid,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Workers []int     `json:"workers,omitempty"`
}

// A Step is one thing that happened to an item. Steps are appended; the latest
// step of an item is its state. Deployment, when set, moves with it in the same
// transaction.
type Step struct {
	Job        UID         `json:"job"`
	At         time.Time   `json:"at"`
	Item       Item        `json:"item"`
	Deployment *Deployment `json:"deployment,omitempty"`
}

// A Plan is what a job found and means to do. Items[0] is the account.
type Plan struct {
	User        UID      `json:"user"`
	UserTitle   string   `json:"user_title"`
	Account     UID      `json:"account"`
	AccountName string   `json:"account_name"`
	Identity    string   `json:"identity,omitempty"` // what the authority calls the account; opaque
	Authority   Place    `json:"authority,omitzero"`
	Machines    []Place  `json:"machines,omitempty"` // where the account is mapped
	Restart     string   `json:"restart,omitempty"`  // Policy.RestartText of the job
	Items       []Item   `json:"items"`
	Warnings    []string `json:"warnings,omitempty"`
	// Notes are what the job does besides giving a new password, or instead of it:
	// what has to be known before anything else.
	Notes []string `json:"notes,omitempty"`
}

// A Place is a machine of a plan, as it was found.
type Place struct {
	Machine UID    `json:"machine"`
	Title   string `json:"title"`
	Address string `json:"address"`
	ID      string `json:"id,omitempty"` // what the machine calls itself: MachineGuid; "" when it was not reached
}

// A RestartPlan is the order in which one machine's items are restarted, with
// the state each was seen in. It is durable in the vault before it is sent;
// what is no longer in that state is left alone.
type RestartPlan struct {
	Machine      UID           `json:"machine"`
	Stops        []Stop        `json:"stops"`
	Starts       []Start       `json:"starts"`
	Recycles     []Recycle     `json:"recycles"`
	StopTimeout  time.Duration `json:"stop_timeout"`
	StartTimeout time.Duration `json:"start_timeout"`
	Settle       time.Duration `json:"settle"` // how long a started service must keep running
	// KillOwnProcess ends the process of a service that does not stop in time, if
	// no other service lives in it.
	KillOwnProcess bool `json:"kill_own_process,omitempty"`
}

// Empty reports whether the plan does nothing.
func (p RestartPlan) Empty() bool {
	return len(p.Stops) == 0 && len(p.Starts) == 0 && len(p.Recycles) == 0
}

// A Stop stops one service, if it is still the process that was seen.
type Stop struct {
	Name    string    `json:"name"`
	State   string    `json:"state"` // Running or Paused
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Target  bool      `json:"target"` // runs as the account; false for a dependent
}

// A Start starts one service that the plan stopped; Pause pauses it again.
type Start struct {
	Name  string `json:"name"`
	Pause bool   `json:"pause,omitempty"`
}

// A Recycle gives an IIS pool new workers, unless the configuration change
// already has: Workers are the process ids from before the update.
type Recycle struct {
	Name    string `json:"name"`
	Workers []int  `json:"workers"`
}
